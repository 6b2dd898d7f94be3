-- The roles of the orders' database. Run this as a superuser in that database, before the first
-- migration and after each one:
--
--   psql --dbname wxpay --set ON_ERROR_STOP=1 --file deploy/postgres/roles.sql
--
--   wxpay_owner    runs migrations; owns everything
--   wxpay_worker   has the privileges that a running worker and the operator's verbs need
--   wxpay_reader   can read: finance, reports
--
-- The roles have no password until you set one (`\password wxpay_worker`). Running this again
-- changes only what differs.

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
    -- By default every role may connect and create temporary tables. Superusers still may.
    execute format('revoke all on database %I from public', current_database());
end $$;

revoke all on schema public from public;
grant usage, create on schema public to wxpay_owner;
grant usage on schema public to wxpay_worker, wxpay_reader;

-- Tables and functions of earlier migrations by another role get the new owner; extensions stay as
-- they are.
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

-- For tables that this file does not know yet: a migration stops no worker, and the roles.sql of
-- the same version revokes the surplus privileges.
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
            ('workers', 'select, insert, update, delete'),
            ('_sqlx_migrations', 'select')
        ) as needed (name, privileges)
        where to_regclass('public.' || name) is not null
    loop
        execute format('revoke all on public.%I from wxpay_worker', needed.name);
        execute format('grant %s on public.%I to wxpay_worker', needed.privileges, needed.name);
    end loop;
end $$;

commit;
