import CMalloc

/// When memory that was freed goes back to the system: the allocator keeps it otherwise, and a replica that has read all series
/// once would look as large as at that moment for ever.
struct FreedMemory {
    /// Giving back takes milliseconds, and what is taken again must be cleared again.
    static let interval = Duration.seconds(5)

    private var isDue = false
    private var givenBackAt: ContinuousClock.Instant?

    /// Something large was freed.
    mutating func note() { self.isDue = true }

    mutating func giveBackIfDue(now: ContinuousClock.Instant = .now) {
        guard self.isDue, self.givenBackAt.map({ now - $0 >= Self.interval }) ?? true else { return }
        self.isDue = false
        self.givenBackAt = now
        malloc_trim(0)
    }
}
