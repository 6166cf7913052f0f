# Notes, stored in the cache.
class NotesController < ApplicationController
  skip_forgery_protection

  def show
    note = Rails.cache.read(params[:key])
    note ? render(plain: note) : head(:not_found)
  end

  def update
    written = Rails.cache.write(params[:key], request.raw_post)
    written ? head(:no_content) : render(plain: "The cache is unavailable.\n", status: :service_unavailable)
  end
end
