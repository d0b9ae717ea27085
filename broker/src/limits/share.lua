-- Adds what one broker has let through to buckets that all brokers share, and answers what all have.
-- KEYS: buckets. ARGV: for each, the microseconds of its flow that were spent since the last report.
-- A bucket is one number, the time at which it is full again, in microseconds of this server's clock, and is gone by then.
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local left = {}
for i, key in ipairs(KEYS) do
    local full_at = math.max(tonumber(redis.call('GET', key) or 0), now)
    local spent = tonumber(ARGV[i])
    if spent > 0 then
        full_at = full_at + spent
        -- Numbers of this size would otherwise be written with an exponent, and lose their end.
        local text, rest = string.format('%.0f', full_at), string.format('%.0f', math.ceil((full_at - now) / 1000))
        redis.call('SET', key, text, 'PX', rest)
    end
    left[i] = full_at - now
end
return left
