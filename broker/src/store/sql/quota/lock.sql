-- Creators of one organization wait for each other, so that two of them cannot both be the last one that fits.
select pg_advisory_xact_lock(hashtext('eventflow quota'), ($1::bigint % 2147483647)::integer)::text
