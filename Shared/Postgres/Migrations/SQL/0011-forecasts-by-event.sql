-- Forecasts of one event, newest move first: without it a page of them reads those of all events.
CREATE INDEX forecasts_by_event ON forecasts (event_id, moved_at DESC, id);
