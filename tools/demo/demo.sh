#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A real pipeline through a broker that is killed on the way. Needs WEIR_BUILD, the directory with
# the compiled programs; all else happens in a temporary directory that is removed at the end.
set -eu

build=${WEIR_BUILD:?set WEIR_BUILD to the build directory, or run ./dev demo}
broker_program=$build/broker/weir-broker
weir=$build/tools/weir
demo=$build/tools/weir-demo
DEMO_INPUT=${DEMO_INPUT:-/var/lib/dpkg/status}
export DEMO_INPUT

if [ ! -r "$DEMO_INPUT" ]; then
    echo "this demo reads Debian's package database, and there is no $DEMO_INPUT here;" \
        "DEMO_INPUT may name another file of the same kind" >&2
    exit 2
fi

directory=$(mktemp -d "${TMPDIR:-/tmp}/weir-demo.XXXXXX")
broker=
ingest=
clean=
report=
rejects=

end_process() {
    [ -n "$1" ] || return 0
    kill -9 "$1" 2>/dev/null || true
    wait "$1" 2>/dev/null || true
}

cleanup() {
    status=$?
    trap - EXIT INT TERM
    for process in "$ingest" "$clean" "$report" "$rejects" "$broker"; do
        end_process "$process"
    done
    rm -rf "$directory"
    exit $status
}
trap cleanup EXIT
trap 'exit 130' INT TERM

now_ms() {
    date +%s%3N
}

say() {
    elapsed=$(($(now_ms) - DEMO_START_MS))
    printf '%3d.%d s  %-8s %s\n' $((elapsed / 1000)) $((elapsed % 1000 / 100)) "demo" "$*"
}

fail() {
    say "FAILED: $*"
    if [ -s "$directory/broker.log" ]; then
        echo "the broker's last words:"
        tail -n 10 "$directory/broker.log"
    fi
    exit 1
}

# Starts the broker on $1 and waits until it says that it is ready.
start_broker() {
    : >"$directory/ready.log"
    # What a killed stage was at is given to others once its session has run out: soon, here.
    "$broker_program" --data-dir "$directory/data" --listen "$1" \
        --set group.consumer.min.session.timeout.ms=1500 \
        --set group.consumer.session.timeout.ms=1500 \
        --set group.consumer.min.heartbeat.interval.ms=300 \
        --set group.consumer.heartbeat.interval.ms=300 2>"$directory/ready.log" &
    broker=$!
    tries=0
    until grep -q 'ready on' "$directory/ready.log"; do
        cat "$directory/ready.log" >"$directory/broker.log"
        kill -0 "$broker" 2>/dev/null || fail "the broker did not start"
        tries=$((tries + 1))
        [ $tries -lt 2000 ] || fail "the broker is not ready after 100 seconds"
        sleep 0.05
    done
    WEIR_BROKERS=$(sed -n 's/.*ready on \([^,]*\),.*/\1/p' "$directory/ready.log" | head -n 1)
    export WEIR_BROKERS
}

# Stage 2: a program that reads packages and writes packages, and weir pipe around it.
clean_packages() {
    exec "$weir" pipe --from packages.raw --to packages.clean --group clean --workers 2 \
        --format msgpack --dead-letter packages.rejected --retries 1 --retry-pause 50ms "$@" \
        -- "$demo" clean >"$directory/clean.txt" 2>>"$directory/clean.log"
}

# Shows packages as they arrive among the dead letters, until it is killed.
show_rejects() {
    exec "$weir" consume packages.rejected \
        --format '         clean    sets package %{header.input} aside: %{header["weir.reason"]}\n'
}

DEMO_START_MS=$(now_ms)
export DEMO_START_MS
packages=$(grep -c '^Package:' "$DEMO_INPUT" || true)

cat <<EOF
A pipeline in three stages, each a program of its own. Between them stands the broker: it keeps on
disk what one stage has made until the next one has time for it.

  $DEMO_INPUT ($packages packages)
    -> 1 ingest   sends every package as a record to the topic packages.raw
    -> 2 clean    'weir pipe' around a program that checks them: good ones go to packages.clean,
                  those it cannot take to packages.rejected
    -> 3 report   adds up the good ones per section

On the way the broker and stage 2 are killed without warning. Nothing may get lost.

EOF

mkdir "$directory/data"
start_broker 127.0.0.1:0
say "the broker listens on $WEIR_BROKERS and keeps its data in $directory/data"
"$weir" topic create packages.raw packages.clean --partitions 2 || fail "cannot create the topics"
"$weir" topic create packages.rejected packages.sections --partitions 1 ||
    fail "cannot create the topics"

"$demo" ingest &
ingest=$!
clean_packages &
clean=$!
show_rejects &
rejects=$!
"$demo" report &
report=$!

sleep 3
say "kills the broker (SIGKILL: no time for it to tidy up)"
end_process "$broker"
broker=
sleep 1.2
say "starts the broker again on the same directory"
start_broker "$WEIR_BROKERS"
say "the broker is ready again"

sleep 2
say "kills stage 2 (clean) with the programs it runs; stage 1 goes on meanwhile"
end_process "$clean"
clean=
wait "$ingest" || fail "stage 1 (ingest) did not finish"
ingest=
say "starts stage 2 again, to go on where it had committed and stop at the end (--until-end)"
clean_packages --until-end &
clean=$!
wait "$clean" || fail "stage 2 (clean) did not finish: $(tail -n 1 "$directory/clean.log")"
clean=
say "stage 2 says: $(cat "$directory/clean.txt")"
for partition in 0 1; do
    echo | "$weir" produce packages.clean --partition $partition --header end=1 --null ||
        fail "cannot mark the end of packages.clean"
done
wait "$report" || fail "stage 3 (report) did not finish"
report=
end_process "$rejects"
rejects=

"$demo" verify || fail "what the topics hold is not what went in"

kill -TERM "$broker"
wait "$broker" || fail "the broker did not end cleanly"
broker=
say "done; $directory is removed"
