#!/bin/sh
# What jq makes of the events: run one of these, with the recorder's options behind its name.
#   jq.sh words      each chunk's words as they come        jq.sh text     the whole text, at the end
#   jq.sh words-tsv  start, end, confidence, word           jq.sh status   a line for a status bar
#   jq.sh unsure     words that may be wrong
set -eu
record() { "${REC_STT:-rec-stt}" progressive-record "$@"; }
jq() { env --ignore-signal=INT jq "$@"; }            # Ctrl-C is for the recorder: jq reads on until that has said the rest
trap : INT
what=${1:?usage: jq.sh words|text|words-tsv|unsure|status [OPTION]...}
shift
case $what in
    words) record "$@" | jq -r --unbuffered 'select(.type == "chunk" and .text != "").text' ;;
    text) record "$@" | jq -r 'select(.type == "done").full_text' ;;
    words-tsv) record --words "$@" | jq -r --unbuffered '.words[]? | [.start, .end, .confidence, .text] | @tsv' ;;
    unsure) record --words "$@" | jq -r --unbuffered '.words[]? | select(.confidence < 0.5).text' ;;
    status) record --levels 4 "$@" | jq -r --unbuffered 'if .type == "level" then (if .speech then "speaking" else "listening" end) elif .type == "done" then "idle" else empty end' ;;
    *) echo "jq.sh: there is no '$what'." >&2; exit 2 ;;
esac
