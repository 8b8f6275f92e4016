# Shell helpers: private sound servers that need no hardware and touch nobody's session. Source this file.
# shellcheck shell=bash
#
# sound_begin           a private HOME and XDG_RUNTIME_DIR in a temporary folder, removed at exit
# sound_pulse RATE CH   PulseAudio with a null sink "sink" (its monitor is the default source)
# sound_pipewire RATE CH  PipeWire, its session manager and its PulseAudio face, with the same null sink
# sound_play FILE       plays a WAV file into the sink and waits
# sound_stop            ends the servers that were started here
# LIB                   the folder of the helper programs (build/lib)

LIB=${BUILD:-build}/lib
sound_pids=()

sound_begin() {
    SOUND_DIR=$(mktemp -d)
    export HOME=$SOUND_DIR XDG_RUNTIME_DIR=$SOUND_DIR/run XDG_CONFIG_HOME=$SOUND_DIR/config PULSE_RUNTIME_PATH=$SOUND_DIR/run/pulse
    export XDG_STATE_HOME=$SOUND_DIR/state XDG_CACHE_HOME=$SOUND_DIR/cache XDG_DATA_HOME=$SOUND_DIR/data
    unset PULSE_SERVER PULSE_SOURCE PULSE_SINK DISPLAY DBUS_SESSION_BUS_ADDRESS ALSA_CONFIG_PATH
    mkdir -p "$XDG_RUNTIME_DIR" "$XDG_CONFIG_HOME"
    chmod 700 "$XDG_RUNTIME_DIR"
    printf 'pcm.!default { type pulse }\nctl.!default { type pulse }\n' > "$HOME/.asoundrc"
    trap sound_end EXIT
}

sound_wait() {    # until the server answers, for at most 10 s
    for _ in $(seq 100); do
        pactl info > /dev/null 2>&1 && return 0
        sleep 0.1
    done
    return 1
}

sound_pulse() {
    pulseaudio -n --daemonize=no --exit-idle-time=-1 --disable-shm=no --use-pid-file=no --log-target=stderr --log-level=error \
        -L "module-native-protocol-unix auth-anonymous=1" \
        -L "module-null-sink sink_name=sink rate=$1 channels=$2" 2> "$SOUND_DIR/pulse.log" &
    SOUND_SERVER=$!
    sound_pids+=($SOUND_SERVER)
    sound_wait
}

sound_pipewire() {
    dbus-run-session --help > /dev/null 2>&1 || return 1
    for program in pipewire wireplumber pipewire-pulse; do
        command -v $program > /dev/null || return 1
    done
    # wireplumber asks a session bus for permission rules; it gets one of its own
    dbus-daemon --session --nofork --print-address=1 > "$SOUND_DIR/bus" 2> /dev/null &
    sound_pids+=($!)
    for _ in $(seq 50); do [ -s "$SOUND_DIR/bus" ] && break; sleep 0.1; done
    DBUS_SESSION_BUS_ADDRESS=$(head -n 1 "$SOUND_DIR/bus"); export DBUS_SESSION_BUS_ADDRESS
    for program in pipewire wireplumber pipewire-pulse; do
        $program > "$SOUND_DIR/$program.log" 2>&1 &
        sound_pids+=($!)
        [ $program != pipewire ] || SOUND_SERVER=$!
        sleep 0.3
    done
    sound_wait || return 1
    pactl load-module module-null-sink sink_name=sink rate="$1" channels="$2" > /dev/null || return 1
    for _ in $(seq 50); do
        pactl list short sources | grep -q sink.monitor && break
        sleep 0.1
    done
    pactl set-default-sink sink && pactl set-default-source sink.monitor
}

sound_play() { paplay --device=sink "$1"; }

sound_stop() {
    [ ${#sound_pids[@]} -eq 0 ] || kill "${sound_pids[@]}" 2> /dev/null
    [ ${#sound_pids[@]} -eq 0 ] || wait "${sound_pids[@]}" 2> /dev/null
    sound_pids=()
}

sound_end() {
    sound_stop
    [ -z "${SOUND_DIR:-}" ] || rm -rf "$SOUND_DIR"
}
