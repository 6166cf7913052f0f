# The shop: a Sinatra app in one class. Middleware (lib/ping.rb) runs before it, Admin (admin.rb) next to it.
require "sinatra/base"
require "./lib/cache"
require "./lib/database"

class Shop < Sinatra::Base
  LONGEST_WORK = 2000 # milliseconds: the limit for one request

  before { content_type :text }

  get "/" do
    "#{ENV.fetch("GREETING", "Hello")}: this is #{ENV["DYNO"] || "not a dyno"}, process #{Process.pid}.\n"
  end

  # The health check: needs neither the database nor the cache.
  get "/up" do
    "up\n"
  end

  get "/db" do
    "Visit #{Database.visit(ENV["DYNO"])} of this shop.\n"
  end

  get "/visits" do
    "#{Database.visits} visits\n"
  end

  post "/visits" do
    [201, "#{Database.visit(ENV["DYNO"])}\n"]
  end

  get "/notes/:key" do |key|
    Cache.read(key) or halt 404, "Note not found.\n"
  end

  put "/notes/:key" do |key|
    Cache.write(key, request.body.read)
    204
  end

  error Database::Unavailable do |error|
    halt 503, "The database is unavailable: #{error.message}\n"
  end

  error Cache::Unavailable do |error|
    halt 503, "The cache is unavailable: #{error.message}\n"
  end

  # Uses CPU time, to show the CPU quota of a dyno: with a quarter of a core, 100 ms of CPU time take 400 ms.
  get "/work" do
    requested = params.fetch("ms", 100).to_i.clamp(0, LONGEST_WORK) / 1000.0
    started = now
    busy = now(Process::CLOCK_THREAD_CPUTIME_ID)
    nil while now(Process::CLOCK_THREAD_CPUTIME_ID) - busy < requested
    format("%d ms of CPU took %d ms.\n", requested * 1000, (now - started) * 1000)
  end

  private

  def now(clock = Process::CLOCK_MONOTONIC)
    Process.clock_gettime(clock)
  end
end
