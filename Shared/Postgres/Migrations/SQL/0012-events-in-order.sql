-- A page of events walks from name to name instead of grouping all nodes, and from name to name of one domain.
CREATE INDEX nodes_by_event_in_order ON nodes (event_id COLLATE "C", domain);
CREATE INDEX nodes_by_domain_in_order ON nodes (domain, event_id COLLATE "C");
