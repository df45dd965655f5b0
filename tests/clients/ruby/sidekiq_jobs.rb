# The jobs of a Sidekiq application, for the `sidekiq` program and for sidekiq_at_hand.rb. SIDEKIQ_TEST_URL is its server.
require 'sidekiq'
Redis.silence_deprecations = true if Redis.respond_to?(:silence_deprecations=) # Sidekiq calls redis-rb the old way

Sidekiq.configure_client { |config| config.redis = { url: ENV.fetch('SIDEKIQ_TEST_URL') } }
Sidekiq.configure_server { |config| config.redis = { url: ENV.fetch('SIDEKIQ_TEST_URL') } }

class Succeed
  include Sidekiq::Worker

  def perform; end
end

class Fail
  include Sidekiq::Worker

  def perform
    raise 'on purpose'
  end
end

# Fails once and for all.
class Die < Fail
  sidekiq_options retry: 0
end
