# An event whose graph is as large as graphs get, 200 edges, 50 of each layer: series of one factor with noise of a fifth of
# it, three markets at seven venues, five nodes of a second event and five of another domain. NDJSON, 300 s up to -v end=MS.
function normal(i, sum) {
    sum = -6
    for (i = 0; i < 12; i++) sum += rand()
    return sum
}
function line(domain, event, market, venue) {
    printf "{\"domain\":\"%s\",\"event\":\"%s\",\"market\":\"m%d\",\"venue\":\"v%d\",\"time\":%.0f,\"value\":%.6f}\n", domain, event, market, venue, end - (300 - t) * 1000, 100 + factor + 0.2 * normal()
}
BEGIN {
    srand(7)
    for (t = 0; t < 300; t++) {
        factor = normal()
        for (m = 0; m < 3; m++) for (v = 0; v < 7; v++) line("broad", "broad", m, v)
        for (v = 0; v < 5; v++) {
            line("broad", "broad-beside", 0, v)
            line("broader", "broad-beyond", 0, v)
        }
    }
}
