class Ping; end
