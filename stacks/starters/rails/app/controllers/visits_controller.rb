class VisitsController < ApplicationController
  skip_forgery_protection only: :create # create has no form

  def show
    @dyno = ENV.fetch("DYNO", "localhost")
  end

  def index
    render plain: "#{Visit.count} visits\n"
  end

  def create
    render plain: "#{Visit.create!(dyno: ENV["DYNO"]).id}\n", status: :created
  end
end
