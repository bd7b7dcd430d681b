-- Removes the named tables, together and only them: what others made depend on them is an error. rex.tables: as for look.
DO $rex$
DECLARE
    present text;
    other text;
BEGIN
    SELECT string_agg(format('%I.%I', schema, name), ', ') FILTER (WHERE relkind IN ('r', 'p')),
           string_agg(format('%I.%I', schema, name), ', ') FILTER (WHERE relkind NOT IN ('r', 'p'))
      INTO present, other
      FROM (SELECT n.name ->> 0 AS schema, n.name ->> 1 AS name
              FROM json_array_elements(current_setting('rex.tables')::json) AS n(name)) AS named
      JOIN pg_namespace ON nspname = schema
      JOIN pg_class ON relnamespace = pg_namespace.oid AND relname = name;
    IF other IS NOT NULL THEN
        RAISE EXCEPTION 'no table any more: %', other;
    END IF;
    IF present IS NOT NULL THEN
        EXECUTE 'DROP TABLE ' || present;
    END IF;
END
$rex$;
