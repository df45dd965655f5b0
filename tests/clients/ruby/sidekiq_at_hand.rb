# Does with Sidekiq what each line of standard input says, and answers with what Sidekiq itself then says of its queues.
# A line is a JSON array: a method of AtHand and its arguments. Jobs run in this process, one at a time.
require_relative 'sidekiq_jobs'
require 'json'
require 'sidekiq/api'
require 'sidekiq/manager'
require 'sidekiq/processor'
require 'sidekiq/scheduled'

Sidekiq.logger.level = Logger::FATAL

# A clock that can be set back: Sidekiq stamps a job with the time at which it is pushed.
module ClockSetBack
  class << self
    attr_accessor :seconds
  end
  self.seconds = 0

  def now(*)
    super - ClockSetBack.seconds
  end
end
Time.singleton_class.prepend(ClockSetBack)

class AtHand
  def push(name, job, count, seconds_ago)
    set_back(seconds_ago) do
      count.times { Sidekiq::Client.push('class' => Object.const_get(job), 'queue' => name, 'args' => []) }
    end
  end

  def push_bulk(name, job, count)
    Sidekiq::Client.push_bulk('class' => Object.const_get(job), 'queue' => name, 'args' => Array.new(count) { [] })
  end

  def schedule(name, job, seconds)
    Sidekiq::Client.push('class' => Object.const_get(job), 'queue' => name, 'args' => [], 'at' => Time.now.to_f + seconds)
  end

  # Runs one job of a queue, as the program does it, retries included.
  def work(name, seconds_ago)
    return if Sidekiq::Queue.new(name).size.zero?

    options = { queues: [name], concurrency: 1, strict: true }
    options[:fetch] = Sidekiq::BasicFetch.new(options)
    set_back(seconds_ago) { run_one(Sidekiq::Processor.new(nil, options)) }
  end

  # The processor hands an error on to its manager's loop, after it has booked it as a retry or as dead.
  def run_one(processor)
    processor.send(:process_one)
  rescue StandardError => error
    raise unless error.message == 'on purpose'
  end

  def enqueue_scheduled = Sidekiq::ScheduledSet.new.each { |job| return job.add_to_queue }
  def retry_one = Sidekiq::RetrySet.new.each { |job| return job.retry }
  def kill_one = Sidekiq::RetrySet.new.each { |job| return job.kill }
  def revive_one = Sidekiq::DeadSet.new.each { |job| return job.retry }
  def delete_one(name) = Sidekiq::Queue.new(name).each { |job| return job.delete }
  def clear(name) = Sidekiq::Queue.new(name).clear
  def look = nil

  def set_back(seconds)
    ClockSetBack.seconds = seconds
    yield
  ensure
    ClockSetBack.seconds = 0
  end

  def report
    stats = Sidekiq::Stats.new
    { queues: Sidekiq::Queue.all.to_h { |queue| [queue.name, { size: queue.size, latency: queue.latency }] },
      scheduled: stats.scheduled_size, retry: stats.retry_size, dead: stats.dead_size,
      retry_failed_at: Sidekiq::RetrySet.new.min_by(&:score)&.[]('failed_at'), dead_at: Sidekiq::DeadSet.new.min_by(&:score)&.score,
      threads: Sidekiq::ProcessSet.new(false).sum { |process| process['concurrency'] } }
  end
end

at_hand = AtHand.new
$stdout.sync = true
$stdin.each_line do |line|
  at_hand.public_send(*JSON.parse(line))
  puts JSON.generate(at_hand.report)
end
