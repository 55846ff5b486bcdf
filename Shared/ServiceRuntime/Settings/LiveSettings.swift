import Synchronization

/// The settings in force. Most are read once at the start; those that may change while a service runs are read here each time.
public final class LiveSettings: Sendable {
    private struct State {
        var settings: ServiceSettings
        var observers: [@Sendable (ServiceSettings) -> Void] = []
    }

    /// Keys whose new value counts at once. A change of any other key needs a restart.
    public let reloadable: Set<String>
    private let state: Mutex<State>

    public init(_ settings: ServiceSettings, reloadable: Set<String>) {
        self.state = Mutex(State(settings: settings))
        self.reloadable = reloadable
    }

    public var current: ServiceSettings { self.state.withLock { $0.settings } }

    /// Calls `body` with the settings now and after each change.
    public func observe(_ body: @escaping @Sendable (ServiceSettings) -> Void) {
        let settings = self.state.withLock { state in
            state.observers.append(body)
            return state.settings
        }
        body(settings)
    }

    /// What a reload came to.
    public struct Change: Hashable, Sendable {
        /// Keys that have another value now.
        public var applied: [String]
        /// Keys that would have, but only after a restart.
        public var deferred: [String]
    }

    /// Takes the reloadable keys of `settings` over.
    public func take(_ settings: ServiceSettings) -> Change {
        let (change, now, observers) = self.state.withLock { state in
            let differing = settings.table.map(\.name).filter { settings.values[$0] != state.settings.values[$0] }
            let applied = differing.filter(self.reloadable.contains)
            var values = state.settings.values
            for name in applied { values[name] = settings.values[name] }
            state.settings = ServiceSettings(
                service: settings.service, table: settings.table, values: values,
                given: state.settings.given.union(settings.given))
            return (
                Change(applied: applied, deferred: differing.filter { !self.reloadable.contains($0) }), state.settings,
                applied.isEmpty ? [] : state.observers
            )
        }
        for observer in observers { observer(now) }
        return change
    }
}
