#!/bin/sh
# Makes the passwords of compose.yaml, once: files of this folder's secrets/ that exist are kept.
set -eu
cd "$(dirname "$0")"
mkdir -p secrets/nodes secrets/proxy
chmod 700 secrets
# 32 bytes in hexadecimal: nothing that a URL or a configuration file would read otherwise.
secret() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }
keep() { if [ ! -e "secrets/$1" ]; then printf '%s' "$2" > "secrets/$1"; fi; }
keep nodes/miss_database_password "$(secret)"
keep redis_password "$(secret)"
redis=$(cat secrets/redis_password)
keep nodes/miss_redis "redis://:$redis@doorbell:6379/0"
keep nodes/miss.conf "# Settings of the nodes, MISS_...=value, one a line.
"
keep valkey.conf "requirepass $redis
save \"\"
appendonly no
maxmemory 256mb
maxmemory-policy volatile-ttl
"
# The containers' users are others than yours, and engines hand files over as they are.
chmod -R a+rX secrets/*
[ -e secrets/proxy/tls.pem ] ||
    echo "now put certificate, chain and key, in this order, into deploy/secrets/proxy/tls.pem"
