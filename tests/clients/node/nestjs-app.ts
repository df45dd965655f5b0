// An application as a NestJS user writes it: a module, a producer, a processor and a listener.
import { InjectQueue, Processor, WorkerHost, OnWorkerEvent, QueueEventsHost, QueueEventsListener, OnQueueEvent, BullModule, InjectFlowProducer } from '@nestjs/bullmq';
import { Inject, Injectable, Module } from '@nestjs/common';
import { FlowProducer, Job, Queue } from 'bullmq';

export interface Mail { to: string; fail?: boolean }

@Injectable()
export class Outbox {
  readonly sent: string[] = [];
  readonly failed: string[] = [];
  readonly completed: string[] = [];
}

@Processor('mail', { concurrency: 5 })
export class MailProcessor extends WorkerHost {
  constructor(@Inject(Outbox) private readonly outbox: Outbox) { super(); }

  async process(job: Job<Mail>): Promise<string> {
    if (job.data.fail) throw new Error(`no such address ${job.data.to}`);
    if (job.name === 'digest') {
      return Object.values(await job.getChildrenValues()).sort().join();
    }
    this.outbox.sent.push(job.data.to);
    return `sent to ${job.data.to}`;
  }

  @OnWorkerEvent('failed')
  onFailed(job: Job<Mail>) { this.outbox.failed.push(job.data.to); }
}

@QueueEventsListener('mail')
export class MailEvents extends QueueEventsHost {
  constructor(@Inject(Outbox) private readonly outbox: Outbox) { super(); }

  @OnQueueEvent('completed')
  onCompleted({ jobId }: { jobId: string }) { this.outbox.completed.push(jobId); }
}

@Injectable()
export class MailService {
  constructor(@InjectQueue('mail') readonly queue: Queue<Mail>, @InjectFlowProducer('flow') private readonly flow: FlowProducer) {}

  send(to: string) { return this.queue.add('send', { to }); }
  sendBroken(to: string) { return this.queue.add('send', { to, fail: true }, { attempts: 2, backoff: 10 }); }
  sendAll(list: string[]) { return this.queue.addBulk(list.map((to) => ({ name: 'send', data: { to } }))); }
  digest(list: string[]) {
    return this.flow.add({
      name: 'digest', queueName: 'mail', data: { to: 'digest' },
      children: list.map((to) => ({ name: 'send', queueName: 'mail', data: { to } })),
    });
  }
}

export function appModule(connection: object) {
  @Module({
    imports: [
      BullModule.forRootAsync({ useFactory: () => ({ connection, prefix: `nest-${process.pid}` }) }),
      BullModule.registerQueue({ name: 'mail', defaultJobOptions: { removeOnComplete: 1000 } }),
      BullModule.registerFlowProducer({ name: 'flow' }),
    ],
    providers: [Outbox, MailProcessor, MailEvents, MailService],
  })
  class AppModule {}
  return AppModule;
}
