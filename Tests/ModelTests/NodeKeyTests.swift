import Foundation
import Model
import Testing

@Suite("Names and nodes")
struct NodeKeyTests {
    private func key(_ domain: String = "d", _ event: String = "e", _ market: String = "m", _ venue: String = "v")
        -> NodeKey
    {
        NodeKey(domain: domain, event: event, market: market, venue: venue)
    }

    @Test(
        "a name is 1 to 128 printable characters",
        arguments: ["a", "kraken spot/usd", "münchen", "日本", "🦑", String(repeating: "x", count: 128)])
    func good(name: String) throws { try Name.validate(name, field: "event") }

    @Test(
        "anything else is refused and the field is named",
        arguments: [
            "", "a\nb", "a\u{0}", "\u{7F}", "a\u{1F}b", "a\u{200B}", "\u{2028}", "\u{E000}", "\u{202E}abc",
            String(repeating: "x", count: 129), String(repeating: "\u{301}", count: 400),
        ])
    func bad(name: String) {
        let error = #expect(throws: ValidationError.self) {
            try NodeKey(validatingDomain: "d", event: "e", market: name, venue: "v")
        }
        #expect(error?.field == "market")
        #expect((error?.description.utf8.count ?? 0) < 200)
    }

    @Test("two spellings of one text cannot both be names, so equal names have equal ids")
    func normalForm() throws {
        let composed = "caf\u{E9}"
        let decomposed = "cafe\u{301}"
        #expect(composed == decomposed && self.key(composed).id != self.key(decomposed).id)
        try Name.validate(composed, field: "event")
        #expect(throws: ValidationError(field: "event", rule: "must be in Unicode normal form C")) {
            try Name.validate(decomposed, field: "event")
        }
    }

    /// Computed with Python's hashlib.
    @Test(
        "an id never changes: it is the first eight bytes of SHA-256 over the four names",
        arguments: [
            (["markets", "btc-usd", "spot", "kraken"], -8_020_018_512_746_365_928),
            (["cloud", "checkout", "latency", "pod-1"], -5_569_239_640_747_298_668),
            (["münchen", "ß", "€", "日本"], -3_340_850_917_886_399_791),
        ] as [([String], Int64)])
    func identity(names: [String], id: Int64) {
        #expect(self.key(names[0], names[1], names[2], names[3]).id.rawValue == id)
    }

    @Test("a shard never changes and all 64 are used")
    func shards() {
        #expect(["btc-usd", "checkout", "e"].map { Shard(event: $0).rawValue } == [26, 7, 63])
        #expect(Set((0..<2_000).map { Shard(event: "event \($0)") }) == Set(Shard.all))
    }

    @Test("moving a character from one name to the next is another node")
    func separator() { #expect(self.key("ab", "c").id != self.key("a", "bc").id) }

    @Test("nodes are ordered by the bytes of domain, event, market, venue, and display in that order")
    func order() {
        let ordered = [
            self.key("A", "z", "z", "z"), self.key("a", "e", "m", "v"), self.key("a", "e", "m", "va"),
            self.key("a", "e", "n", "a"), self.key("a", "f", "a", "a"), self.key("z"), self.key("é"), self.key("日"),
        ]
        #expect(ordered.reversed().sorted() == ordered)
        #expect(!(ordered[0] < ordered[0]))
        #expect(ordered[1].display == "a|e|m|v")
    }

    @Test("the farthest difference decides the layer, whichever end is first")
    func layers() {
        let node = self.key()
        for (other, layer, threshold) in [
            (self.key("d", "e", "m", "w"), Layer.direct, 0.55), (self.key("d", "e", "n", "w"), .crossMarket, 0.65),
            (self.key("d", "f", "n", "v"), .crossEvent, 0.75), (self.key("g", "e", "m", "v"), .crossDomain, 0.85),
        ] {
            #expect(Layer(of: node, and: other) == layer && Layer(of: other, and: node) == layer)
            #expect(layer.defaultThreshold == threshold)
        }
    }

    @Test("a layer is spelled L1 to L4")
    func spelling() throws {
        #expect(Layer.allCases.map(\.code) == ["L1", "L2", "L3", "L4"])
        #expect(Layer(code: "l3") == .crossEvent)
        #expect(["", "L0", "L5", "3", "L33"].allSatisfy { Layer(code: $0) == nil })
        #expect(try JSONDecoder().decode([Layer].self, from: Data(#"["L2"]"#.utf8)) == [.crossMarket])
        #expect(throws: DecodingError.self) { try JSONDecoder().decode([Layer].self, from: Data("[2]".utf8)) }
    }
}
