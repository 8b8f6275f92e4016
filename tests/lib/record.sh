# Shell helpers for the recorder's tests. Source it after tests/lib.sh, in the root folder.
# shellcheck shell=bash
#
# record OPTION…          the recorder on a tiny model, lines to $work/out, words for people to $work/err
# noise SECONDS FILE      raw sound at 16 kHz that comes and goes as syllables do; silence SECONDS FILE: zeros
# valid                   every line of it is as the schema says, in the order that it must have
# field FILTER            a jq filter over the last line, which is done
# background OPTION…      as record, but goes on; its process is $recorder; ready waits for its ready line
# reap STATUS             waits for it and compares its exit status

work=$(mktemp -d)
recorder=
export XDG_RUNTIME_DIR=$work/runtime XDG_CACHE_HOME=$work/cache
export ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0   # the leak finder cannot look into a confined process
mkdir -m 700 "$XDG_RUNTIME_DIR"
MODEL=tests/fixtures/parity/tiny-tdt.gguf
export RAW="16000,1,s16le"
trap 'kill -KILL $recorder 2> /dev/null; rm -rf "$work"' EXIT

# A second: four times 200 ms of a buzz at 125 Hz, each of another sound, and 50 ms of next to nothing.
noise() {
    local i k
    for i in 1 2 3 4; do
        head -c 128 /dev/urandom | od -An -v -tu1 | LC_ALL=C awk '{ for (i = 1; i <= NF; i++) printf "%c%c", ($i % 2) * 127 + 1, ($i > 127) ? 12 : 243 }' | LC_ALL=C head -c 256 > "$work/period"
        for ((k = 0; k < 25; k++)); do cat "$work/period"; done
        head -c 1600 /dev/zero | tr '\0' '\1'
    done > "$work/second"
    for ((i = 0; i < ${1%.*}; i++)); do cat "$work/second"; done > "$2"
}
silence() { head -c $((${1%.*} * 32000)) /dev/zero > "$2"; }

record() { "$REC_STT" progressive-record --model $MODEL --vad energy --threads 1 "$@" > "$work/out" 2> "$work/err"; }

valid() { jq -n -R -e -r --slurpfile schema share/events.schema.json -f tests/lib/validate.jq < "$work/out"; }

field() { tail -n 1 "$work/out" | jq -e "$1"; }

background() {
    : > "$work/out"
    "$REC_STT" progressive-record --model $MODEL --vad energy --threads 1 "$@" > "$work/out" 2> "$work/err" <&0 7>&- &
    recorder=$!
}

ready() {    # until there is a ready line, for at most 20 s
    for _ in $(seq 400); do
        grep -q '"ready"' "$work/out" 2> /dev/null && return 0
        sleep 0.05
    done
    return 1
}

reap() {
    local status
    wait "$recorder"; status=$?
    recorder=
    [ $status -eq "$1" ] || { echo "status $status, not $1"; cat "$work/err"; return 1; }
}
