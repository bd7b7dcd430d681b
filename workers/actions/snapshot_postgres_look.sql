-- What a snapshot has to know before it saves anything; one JSON object. rex.tables: JSON list of [schema, table].
WITH named AS (
    SELECT n.name ->> 0 AS schema, n.name ->> 1 AS name,
           to_regclass(format('%I.%I', n.name ->> 0, n.name ->> 1))::oid AS oid
      FROM json_array_elements(current_setting('rex.tables')::json) AS n(name)
)
SELECT json_build_object(
    'version', current_setting('server_version_num')::int,
    'database', current_database(),
    'standby', pg_is_in_recovery(),
    'public', to_regnamespace('public') IS NOT NULL,
    'large_objects', (SELECT count(*) FROM pg_largeobject_metadata),
    'subscriptions', (SELECT count(*) FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid
                       WHERE d.datname = current_database()),
    'owner', (SELECT pg_has_role(datdba, 'MEMBER') FROM pg_database WHERE datname = current_database()),
    'missing', (SELECT coalesce(json_agg(format('%s.%s', schema, name)), '[]') FROM named WHERE oid IS NULL),
    'no_tables', (SELECT coalesce(json_agg(format('%s.%s', schema, name)), '[]')
                    FROM named JOIN pg_class c USING (oid) WHERE c.relkind NOT IN ('r', 'p')),
    'foreign', (SELECT coalesce(json_agg(DISTINCT c.oid::regclass::text), '[]') FROM pg_class c
                 WHERE c.oid >= 16384 AND NOT pg_has_role(c.relowner, 'MEMBER')
                   AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
                   AND (c.oid IN (SELECT oid FROM named) OR NOT EXISTS (SELECT FROM named))),
    'dependents', (
        SELECT coalesce(json_agg(DISTINCT what), '[]') FROM (
            SELECT format('table %s (foreign key %s)', conrelid::regclass, conname) AS what
              FROM pg_constraint
             WHERE contype = 'f' AND confrelid IN (SELECT oid FROM named)
               AND conrelid NOT IN (SELECT oid FROM named WHERE oid IS NOT NULL)
            UNION ALL
            SELECT format('table %s (inherits)', inhrelid::regclass)
              FROM pg_inherits
             WHERE inhparent IN (SELECT oid FROM named)
               AND inhrelid NOT IN (SELECT oid FROM named WHERE oid IS NOT NULL)
            UNION ALL
            SELECT format('view %s', r.ev_class::regclass)
              FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid
             WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass
               AND d.refobjid IN (SELECT oid FROM named)
               AND r.ev_class NOT IN (SELECT oid FROM named WHERE oid IS NOT NULL)
        ) AS outside)
);
