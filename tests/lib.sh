# For scripts named *.test: `ok NAME COMMAND…` counts, `finish` prints the closing line.
passed=0 failed=0
REC_STT=${REC_STT:-$PWD/rec-stt}

ok() {
    local name=$1 out
    shift
    if out=$("$@" 2>&1); then
        passed=$((passed + 1)); echo "ok   $name"
    else
        failed=$((failed + 1)); echo "FAIL $name"; printf '%s\n' "$out" | sed 's/^/     /'
    fi
}

skip() { echo "skip $*"; }

finish() {
    echo "$passed passed, $failed failed"
    [ "$failed" -eq 0 ]
}
