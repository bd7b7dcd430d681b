-- Removes everything that a dump of the whole database creates again. rex.public: had it a schema public?
DO $rex$
DECLARE
    it record;
    version int := current_setting('server_version_num')::int;
BEGIN
    FOR it IN
        SELECT replace(named.type, 'foreign-data', 'foreign data') AS type, named.identity
          FROM (
              SELECT 1 AS turn, 'pg_event_trigger'::regclass AS class, oid FROM pg_event_trigger
              UNION ALL SELECT 2, 'pg_publication'::regclass, oid FROM pg_publication
              UNION ALL SELECT 3, 'pg_extension'::regclass, oid FROM pg_extension WHERE oid >= 16384
              UNION ALL SELECT 4, 'pg_namespace'::regclass, oid FROM pg_namespace
                         WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
              UNION ALL SELECT 5, 'pg_foreign_data_wrapper'::regclass, oid FROM pg_foreign_data_wrapper
                         WHERE oid >= 16384
              UNION ALL SELECT 6, 'pg_language'::regclass, oid FROM pg_language WHERE oid >= 16384
              UNION ALL SELECT 7, 'pg_am'::regclass, oid FROM pg_am WHERE oid >= 16384
              UNION ALL SELECT 8, 'pg_cast'::regclass, oid FROM pg_cast WHERE oid >= 16384
          ) AS found, LATERAL pg_identify_object(found.class, found.oid, 0) AS named
         ORDER BY found.turn
    LOOP
        -- IF EXISTS: what depends on an earlier one has gone with it
        EXECUTE format('DROP %s IF EXISTS %s CASCADE', it.type, it.identity);
    END LOOP;
    PERFORM lo_unlink(oid) FROM pg_largeobject_metadata;
    IF current_setting('rex.public')::bool THEN
        -- as initdb leaves it: a dump holds only what differs from that
        CREATE SCHEMA public;
        COMMENT ON SCHEMA public IS 'standard public schema';
        IF version >= 150000 THEN
            ALTER SCHEMA public OWNER TO pg_database_owner;
            GRANT USAGE ON SCHEMA public TO PUBLIC;
        ELSE
            EXECUTE (SELECT format('ALTER SCHEMA public OWNER TO %I', rolname) FROM pg_roles WHERE oid = 10);
            GRANT ALL ON SCHEMA public TO PUBLIC;
        END IF;
    END IF;
END
$rex$;
