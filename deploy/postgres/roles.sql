-- Who may do what in the database of the orders. As a superuser, in that database, before the first
-- migration and after each one:
--
--   psql --dbname wxpay --set ON_ERROR_STOP=1 --file deploy/postgres/roles.sql
--
--   wxpay_owner    migrates; everything belongs to it
--   wxpay_worker   does what a running worker and the operator's verbs do, and nothing else
--   wxpay_reader   looks: finance, reports
--
-- The roles have no password until `\password wxpay_worker` gives them one. Running this again
-- changes nothing that is right.

begin;

do $$
declare
    wanted text;
begin
    foreach wanted in array array['wxpay_owner', 'wxpay_worker', 'wxpay_reader'] loop
        if not exists (select from pg_roles where rolname = wanted) then
            execute format('create role %I login', wanted);
        end if;
        execute format('grant connect on database %I to %I', current_database(), wanted);
    end loop;
    -- Otherwise everybody may come in, and make temporary tables. Superusers still may.
    execute format('revoke all on database %I from public', current_database());
end $$;

revoke all on schema public from public;
grant usage, create on schema public to wxpay_owner;
grant usage on schema public to wxpay_worker, wxpay_reader;

-- What somebody else has migrated before becomes the owner's; extensions stay as they are.
do $$
declare
    theirs record;
begin
    for theirs in
        select format('table %s', oid::regclass) as what from pg_class
        where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')
            and relowner <> 'wxpay_owner'::regrole
        union all
        select format('function %s', oid::regprocedure) from pg_proc
        where pronamespace = 'public'::regnamespace and proowner <> 'wxpay_owner'::regrole
            and not exists (select from pg_depend where objid = pg_proc.oid and deptype = 'e')
    loop
        execute format('alter %s owner to wxpay_owner', theirs.what);
    end loop;
end $$;

-- A net for tables that this file does not know yet: a migration stops no worker, and the file of
-- the same version takes back what is too much.
alter default privileges for role wxpay_owner in schema public
    grant select, insert, update, delete on tables to wxpay_worker;
alter default privileges for role wxpay_owner in schema public
    grant select on tables to wxpay_reader;
grant select on all tables in schema public to wxpay_reader;

do $$
declare
    needed record;
begin
    for needed in
        select * from (values
            ('orders', 'select, insert, update'),
            ('order_transitions', 'select, insert'),
            ('notifications', 'select, insert, update'),
            ('exceptions', 'select, insert, update'),
            ('rejections', 'select, insert, delete'),
            ('outbox', 'select, insert, update, delete'),
            ('gateway_calls', 'select, insert, delete'),
            ('event_confirms', 'select, insert, delete'),
            ('operator_actions', 'select, insert'),
            ('_sqlx_migrations', 'select')
        ) as needed (name, privileges)
        where to_regclass('public.' || name) is not null
    loop
        execute format('revoke all on public.%I from wxpay_worker', needed.name);
        execute format('grant %s on public.%I to wxpay_worker', needed.privileges, needed.name);
    end loop;
end $$;

commit;
