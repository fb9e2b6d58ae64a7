#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What librdkafka's tests call of Kafka's own tools, done by weir: create, delete, more partitions.
set -eu
action= topic= partitions= servers=
set -- "$@" --end
while [ "$1" != --end ]; do
    case $1 in
    --create | --delete | --alter) action=$1 ;;
    --bootstrap-server) servers=$2 && shift ;;
    --topic) topic=$2 && shift ;;
    --partitions) partitions=$2 && shift ;;
    --replication-factor) shift ;;
    --config) set -- "$@" --set "$2" && shift ;;
    *) echo "kafka-topics.sh: what is $1?" >&2 && exit 2 ;;
    esac
    shift
done
shift
weir=$WEIR_BUILD/tools/weir
case $action in
--create) exec "$weir" topic create -b "$servers" -p "$partitions" "$@" "$topic" ;;
--alter) exec "$weir" topic alter -b "$servers" -p "$partitions" "$topic" ;;
--delete) exec "$weir" topic delete -b "$servers" "$topic" ;;
esac
echo "kafka-topics.sh: what is to be done?" >&2
exit 2
