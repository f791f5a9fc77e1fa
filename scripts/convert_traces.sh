#!/bin/sh
# Makes key files (a key a line, for hit_ratio_bench and `tidegate simulate --cache-trace`) of recorded
# traces in the forms they are published in. FOLDER holds any of
#   oltp.gz p3.gz                 ARC traces: "start count 0 number", count keys from start on
#   gli.gz loop.gz                LIRS traces: a key a line
#   trace_vaultservice.gz         Corda: 64-bit keys, big-endian
#   scarab-recs.trace.xz          Scarab: 64-bit keys, big-endian
# as in github.com/maypok86/otter, benchmarks/simulator/trace. Files that are not there are left out.
set -eu
folder=${1:?"usage: $0 FOLDER"}
cd "$folder"

lines() { awk '{ for (i = 0; i < $2; ++i) printf "%d\n", $1 + i }'; }
words() { od -An -v -w8 -tx8 --endian=big | tr -d ' '; }

[ ! -e oltp.gz ] || gzip -dc oltp.gz | lines >oltp.keys
[ ! -e p3.gz ] || gzip -dc p3.gz | lines >p3.keys
[ ! -e gli.gz ] || gzip -dc gli.gz | grep -v '^[[:space:]]*\*' >gli.keys
[ ! -e loop.gz ] || gzip -dc loop.gz | grep -v '^[[:space:]]*\*' >loop.keys
[ ! -e trace_vaultservice.gz ] || gzip -dc trace_vaultservice.gz | words >corda.keys
[ ! -e scarab-recs.trace.xz ] || xz -dc scarab-recs.trace.xz | words >scarab.keys
