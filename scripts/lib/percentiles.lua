-- For wrk: percentiles of the times of all requests in milliseconds, p95 among them, which wrk itself does not print.
function done(summary, latency, requests)
   for _, percent in ipairs({ 50, 95, 99 }) do
      io.write(string.format("p%d %.2f ms  ", percent, latency:percentile(percent) / 1000))
   end
   io.write("\n")
end
