-- A page of events walks from name to name instead of grouping all nodes.
CREATE INDEX nodes_by_event_in_order ON nodes (event_id COLLATE "C", domain);
