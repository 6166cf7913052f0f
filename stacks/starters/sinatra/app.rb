# The shop: a Sinatra app, one class. Middleware (lib/ping.rb) runs before it, Admin (admin.rb) beside it.
require "sinatra/base"
require "./lib/cache"
require "./lib/database"

class Shop < Sinatra::Base
  LONGEST_WORK = 2000 # milliseconds: nobody gets a dyno for longer than that

  before { content_type :text }

  get "/" do
    "#{ENV.fetch("GREETING", "Hello")}: this is #{ENV["DYNO"] || "no dyno"}, process #{Process.pid}.\n"
  end

  # For whoever asks whether this dyno is well: it answers without the database or the cache.
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
    Cache.read(key) or halt 404, "There is no such note.\n"
  end

  put "/notes/:key" do |key|
    Cache.write(key, request.body.read)
    204
  end

  error Database::Away do |error|
    halt 503, "The database is away: #{error.message}\n"
  end

  error Cache::Away do |error|
    halt 503, "The cache is away: #{error.message}\n"
  end

  # Burns CPU, to see what a dyno's share of a core is: at a quarter of one, 100 ms of CPU take 400 ms.
  get "/work" do
    wanted = params.fetch("ms", 100).to_i.clamp(0, LONGEST_WORK) / 1000.0
    started = now
    busy = now(Process::CLOCK_THREAD_CPUTIME_ID)
    nil while now(Process::CLOCK_THREAD_CPUTIME_ID) - busy < wanted
    format("%d ms of CPU took %d ms.\n", wanted * 1000, (now - started) * 1000)
  end

  private

  def now(clock = Process::CLOCK_MONOTONIC)
    Process.clock_gettime(clock)
  end
end
