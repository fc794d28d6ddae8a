-- One line that a program can read. No response(): wrk counts what is not a 2xx or 3xx by itself, for less of the cores.
function done(summary)
  local e = summary.errors
  io.write(string.format("RESULT %d %d %d\n", summary.requests, summary.duration,
    e.connect + e.read + e.write + e.timeout + e.status))
end
