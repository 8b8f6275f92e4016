# fish completion for rec-stt. Commands and options are read from the program's own --help, so that
# nothing here can fall behind it.
function __rec_stt_commands
    rec-stt --help 2>/dev/null | string match -rg '^  ([a-z][a-z-]*  +.*)' | string replace -r '  +' \t
end

function __rec_stt_command
    set -l words (commandline -opc)
    test (count $words) -ge 2; and echo $words[2]
end

function __rec_stt_options
    set -l command (__rec_stt_command)
    test -n "$command"; or return
    for line in (rec-stt $command --help 2>/dev/null | string match -r '^  (?:-., |    )--.*')
        set -l parts (string match -rg '(--[a-z0-9-]*)(?: (\S+))? *(.*)' -- $line)
        printf '%s\t%s\n' $parts[1] "$parts[3]"
    end
end

function __rec_stt_values
    set -l words (commandline -opc)
    string match -q -- '--*' $words[-1]; or return 1
    set -l help (rec-stt (__rec_stt_command) --help 2>/dev/null | string match -r -- "$words[-1] [^ ]+")
    set -l argument (string split -f 2 ' ' -- $help)
    switch "$argument"
        case 'FILE*'
            return 1
        case '*|*'
            string split '|' -- $argument
        case DEVICE
            rec-stt devices 2>/dev/null | string match -rg '^[* ] (\S+)  '
        case '*'
            return 1
    end
end

complete -c rec-stt -n 'not __rec_stt_command' -f -a '(__rec_stt_commands)'
complete -c rec-stt -n 'test "$(__rec_stt_command)" = model' -a 'list info path import verify remove default prepare'
complete -c rec-stt -n '__rec_stt_command' -a '(string match -q -- "-*" (commandline -ct); and __rec_stt_options)'
complete -c rec-stt -n '__rec_stt_values >/dev/null' -f -a '(__rec_stt_values)'
