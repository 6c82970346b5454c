-- Rows that are written again and again get room beside them in their pages, so
-- that no index has to be touched when they are: what agents report of their
-- containers, and where agents stand. Pages that are there already are not
-- rewritten; they come to it with time.

-- +goose Up
alter table containers set (fillfactor = 70);
alter table agents set (fillfactor = 70);

-- +goose Down
alter table agents reset (fillfactor);
alter table containers reset (fillfactor);
