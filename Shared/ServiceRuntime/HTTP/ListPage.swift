/// A list answer: `{"items": [...], "nextCursor": "..."}`; no cursor on the last page.
public struct ListPage<Item: Encodable & Sendable>: Encodable, Sendable {
    public var items: [Item]
    public var nextCursor: String?

    public init(items: [Item], nextCursor: String? = nil) {
        self.items = items
        self.nextCursor = nextCursor
    }
}
