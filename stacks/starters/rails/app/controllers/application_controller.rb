class ApplicationController < ActionController::Base
  # The response names the error, but not the address of the database.
  rescue_from ActiveRecord::ActiveRecordError do |error|
    logger.error(error)
    render plain: "The database is unavailable: #{error.class.name}\n", status: :service_unavailable
  end
end
