# A worker: takes jobs from a list in Redis, one after the other, until it is told to stop.
require "redis"

going = true
trap("TERM") { going = false }
$stdout.sync = true

redis = Redis.new(url: ENV.fetch("REDIS_URL"))
puts "#{ENV["DYNO"]} waits for jobs"
while going
  _, job = redis.brpop("jobs", timeout: 1)
  next unless job

  visit = Visit.create!(dyno: ENV["DYNO"])
  redis.set("done:#{job}", "#{job.reverse} (visit #{visit.id})")
  puts "did #{job}"
end
puts "#{ENV["DYNO"]} ends"
