# A worker: processes jobs from a Redis list, one at a time, until it receives TERM.
require "redis"

running = true
trap("TERM") { running = false }
$stdout.sync = true

redis = Redis.new(url: ENV.fetch("REDIS_URL"))
puts "#{ENV["DYNO"]} is waiting for jobs"
while running
  _, job = redis.brpop("jobs", timeout: 1)
  next unless job

  redis.set("done:#{job}", job.reverse)
  puts "processed #{job}"
end
puts "#{ENV["DYNO"]} stops"
