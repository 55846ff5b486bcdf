# Declaring and replaying the sample recordings; sourced after services.sh.
# shellcheck shell=bash disable=SC2154

put_profiles() {
    local file
    for file in Samples/profiles/*.json; do
        api PUT "/v1/domains/$(basename "$file" .json)" "$file" || die "the profile $file was refused"
    done
}

# put_topology: the call graph of a recording becomes the body of PUT /v1/topology.
put_topology() {
    local name file
    while read -r name file; do
        awk -F, -v name="$name" '
            function quoted(text) { gsub(/["\\]/, "\\\\&", text); return "\"" text "\"" }
            BEGIN { printf "{\"name\":%s,\"edges\":[", quoted(name) }
            NR > 1 { printf "%s{\"caller\":%s,\"callee\":%s}", (NR > 2 ? "," : ""), quoted($1), quoted($2) }
            END { print "]}" }' "$file" >"$data/topology-$name.json"
        api PUT /v1/topology "$data/topology-$name.json" || die "the topology of $file was refused"
    done <<'LIST'
nezha Samples/services-nezha/2022-08-22/graph.csv
petshop Samples/services-petshop/low_traffic/graph.csv
LIST
}

# held OBSERVATIONS FILE...: whether the database holds that many observations of the nodes of these files already. Distinct
# observations of the files are counted once and remembered by the files' hash.
held() {
    local marker=$1
    [[ -e $marker ]] || return 1
    local domains expected found
    IFS=$'\t' read -r expected domains <"$marker"
    found=$("$psql" -qAtX "$DATABASE_URL" -c "SELECT count(*) FROM observations o JOIN nodes n USING (shard, node_id)
        WHERE n.domain = ANY (string_to_array('$domains', ','))") || return 1
    ((found >= expected))
}

# One group of files: replayed in the given order, unless the database holds all of it.
replay_group() {
    local name=$1 prefix=$2
    shift 2
    local marker
    marker=$data/sample-$name-$(cat "$@" | sha256sum | cut -c1-12)
    if [[ ! -e $marker ]]; then
        gzip -dc "$@" | awk -F, -v prefix="$prefix" '
            $1 != "ts" { key = $1 "," $3 "," $4 "," $5 "," $6 "," $7; if (!(key in seen)) { seen[key]; count++ }
                         domains[prefix $3] }
            END { printf "%d\t", count; for (domain in domains) { printf "%s%s", comma, domain; comma = "," }; print "" }
        ' >"$marker.new"
        mv "$marker.new" "$marker"
    fi
    if held "$marker"; then
        say "$name: all $(cut -f1 "$marker") observations are there already"
        return
    fi
    say "replaying $name"
    "$bin/graph-builder" replay --connection "$data/connection.json" --domain-prefix "$prefix" \
        --summary "$data/replays.jsonl" "$@" 9>&- || die "the replay of $name failed"
}

# In the order of the recorded times.
replay_samples() {
    psql=$(postgres_bin)/psql
    local petshop=Samples/services-petshop/low_traffic name cases=()
    while IFS=, read -r name _; do
        cases+=("$petshop/cases/$name.csv.gz")
    done < <(tail -n +2 "$petshop/cases.csv" | sort -t, -k7,7n)
    replay_group market-btcjpy '' Samples/market-btcjpy/*.csv.gz
    replay_group labelled-asd '' Samples/labelled-asd/*.csv.gz
    replay_group services-nezha '' Samples/services-nezha/2022-08-22/metrics.csv.gz
    replay_group services-petshop petshop- "${cases[@]}" "$petshop/normal.csv.gz"
}
