-- For wrk: counts who answered, and tells it with all errors in one line of JSON at the end.
local threads = {}

function setup(thread)
    table.insert(threads, thread)
end

function init()
    old, new, other = 0, 0, 0
end

function response(status, _, body)
    if status == 200 and body == "old\n" then
        old = old + 1
    elseif status == 200 and body == "new\n" then
        new = new + 1
    else
        other = other + 1
    end
end

function done(summary)
    local counts = { old = 0, new = 0, other = 0 }
    for _, thread in ipairs(threads) do
        for name in pairs(counts) do
            counts[name] = counts[name] + thread:get(name)
        end
    end
    local errors = summary.errors
    io.write(string.format('\n{"requests": %d, "old": %d, "new": %d, "failed": %d, "seconds": %.1f}\n',
        summary.requests, counts.old, counts.new,
        counts.other + errors.connect + errors.read + errors.write + errors.status + errors.timeout,
        summary.duration / 1e6))
end
