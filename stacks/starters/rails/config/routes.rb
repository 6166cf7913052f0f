Rails.application.routes.draw do
  root "visits#show"
  get "/up", to: ->(_env) { [200, { "Content-Type" => "text/plain" }, ["up\n"]] }
  get "/visits", to: "visits#index"
  post "/visits", to: "visits#create"
  get "/notes/:key", to: "notes#show"
  put "/notes/:key", to: "notes#update"
end
