class ApplicationController < ActionController::Base
  # The one who asks learns that something is away, and not where it is.
  rescue_from ActiveRecord::ActiveRecordError do |error|
    logger.error(error)
    render plain: "The database is away: #{error.class.name}\n", status: :service_unavailable
  end
end
