# bash completion for rec-stt. Commands and options are read from the program's own --help, so that
# nothing here can fall behind it.
_rec_stt_commands() { "$1" --help 2>/dev/null | sed -n '/^Commands:/,/^$/s/^  \([a-z][a-z-]*\).*/\1/p'; }
_rec_stt_options() { "$1" "$2" --help 2>/dev/null | sed -n 's/^  \(-., \|    \)\(--[a-z0-9-]*\).*/\2/p'; }
_rec_stt_argument() { "$1" "$2" --help 2>/dev/null | sed -n "s/^  .*$3 \([^ ]*\).*/\1/p"; }

_rec_stt() {
    local program=${COMP_WORDS[0]} word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} argument=
    COMPREPLY=()
    compopt +o default 2>/dev/null
    if [ "$COMP_CWORD" -eq 1 ]; then
        mapfile -t COMPREPLY < <(compgen -W "$(_rec_stt_commands "$program")" -- "$word")
        return
    fi
    local command=${COMP_WORDS[1]}
    [[ $before == --* ]] && argument=$(_rec_stt_argument "$program" "$command" "$before")
    case $argument in
        FILE*) mapfile -t COMPREPLY < <(compgen -f -- "$word"; compgen -W "${argument//|/ }" -- "$word" | grep -vx FILE) ;;
        *'|'*) mapfile -t COMPREPLY < <(compgen -W "${argument//|/ }" -- "$word") ;;
        DEVICE) local IFS=$'\n'
            mapfile -t COMPREPLY < <(compgen -W "$("$program" devices 2>/dev/null | sed -n 's/^[* ] \([^ ][^ ]*\)  .*/\1/p')" -- "$word") ;;
        MODEL) mapfile -t COMPREPLY < <(compgen -W "$("$program" model list --names 2>/dev/null)" -- "$word"; compgen -f -- "$word") ;;
        *FOLDER* | *DIR* | *PATH*) mapfile -t COMPREPLY < <(compgen -f -- "$word") ;;
        [A-Z]*) ;;
        *)  if [[ $word == -* ]]; then
                mapfile -t COMPREPLY < <(compgen -W "$(_rec_stt_options "$program" "$command")" -- "$word")
            elif [ "$command" = pull ]; then
                mapfile -t COMPREPLY < <(compgen -W "--list $("$program" pull --list 2>/dev/null | cut -d' ' -f1)" -- "$word")
            elif [ "$command" = model ] && [ "$COMP_CWORD" -eq 2 ]; then
                mapfile -t COMPREPLY < <(compgen -W "list info path import verify remove default prepare" -- "$word")
            else
                mapfile -t COMPREPLY < <(compgen -f -- "$word")
            fi ;;
    esac
}
complete -o filenames -F _rec_stt rec-stt
