//! The queues beside a reference: random calls are made of both, and must be answered alike.

use std::collections::{BTreeMap, BTreeSet};

use queue::{
    AckReply, AckRequest, ExtendReply, ExtendRequest, Job, ListReply, ListRequest, Listed,
    NackReply, NackRequest, PushReply, PushRequest, QueueCall, QueueCalls, Queues, RemoveReply,
    RemoveRequest, RequeueReply, RequeueRequest, State, StatsReply, StatsRequest, TakeReply,
    TakeRequest, Taken,
};
use quorate_sdk::Status;
use quorate_test::proptest::prelude::{Strategy, any};
use quorate_test::proptest::prop_oneof;
use quorate_test::{Machine, Model};

const QUEUES: [&str; 2] = ["a", "b"];

/// What the queues do, in a map that is searched from end to end.
#[derive(Default)]
struct Reference {
    now_ms: u64,
    last_id: u64,
    jobs: BTreeMap<u64, (Job, Vec<u8>)>,
}

impl Reference {
    fn job(&mut self, id: u64) -> Result<&mut Job, Status> {
        self.jobs.get_mut(&id).map(|(job, _)| job).ok_or_else(|| Status::not_found(""))
    }

    fn held(&mut self, id: u64, attempt: u32) -> Result<&mut Job, Status> {
        let job = self.job(id)?;
        let is_held = job.leased && job.attempts == attempt;
        if is_held { Ok(job) } else { Err(Status::failed_precondition("")) }
    }

    fn state(&self, job: &Job) -> State {
        let is_spent = job.attempts >= job.attempts_max;
        match job.due_ms > self.now_ms {
            true if job.leased => State::Leased,
            true => State::Delayed,
            false if is_spent => State::Dead,
            false => State::Ready,
        }
    }
}

impl QueueCalls for Reference {
    fn push(&mut self, request: PushRequest) -> Result<PushReply, Status> {
        let PushRequest { queue, payload, delay_ms, attempts: attempts_max } = request;
        let due_ms = self.now_ms + delay_ms;
        self.last_id += 1;
        let job = Job { queue, due_ms, attempts: 0, attempts_max, leased: false };
        self.jobs.insert(self.last_id, (job, payload));
        Ok(PushReply { id: self.last_id })
    }

    fn take(&mut self, request: TakeRequest) -> Result<TakeReply, Status> {
        let ready = self
            .jobs
            .iter()
            .filter(|(_, (job, _))| job.queue == request.queue && self.state(job) == State::Ready);
        let next = ready.min_by_key(|(id, (job, _))| (job.due_ms, job.leased, **id));
        let Some(id) = next.map(|(id, _)| *id) else { return Ok(TakeReply { taken: None }) };
        let until_ms = self.now_ms + request.lease_ms;
        let (job, payload) = self.jobs.get_mut(&id).expect("it was found");
        job.attempts += 1;
        job.leased = true;
        job.due_ms = until_ms;
        let taken = Taken { id, attempt: job.attempts, payload: payload.clone(), until_ms };
        Ok(TakeReply { taken: Some(taken) })
    }

    fn ack(&mut self, request: AckRequest) -> Result<AckReply, Status> {
        self.held(request.id, request.attempt)?;
        self.jobs.remove(&request.id);
        Ok(AckReply {})
    }

    fn nack(&mut self, request: NackRequest) -> Result<NackReply, Status> {
        let now_ms = self.now_ms;
        let job = self.held(request.id, request.attempt)?;
        let is_spent = job.attempts >= job.attempts_max;
        job.leased = false;
        job.due_ms = if is_spent { now_ms } else { now_ms + request.delay_ms };
        Ok(NackReply {})
    }

    fn extend(&mut self, request: ExtendRequest) -> Result<ExtendReply, Status> {
        let until_ms = self.now_ms + request.lease_ms;
        self.held(request.id, request.attempt)?.due_ms = until_ms;
        Ok(ExtendReply { until_ms })
    }

    fn requeue(&mut self, request: RequeueRequest) -> Result<RequeueReply, Status> {
        let now_ms = self.now_ms;
        let job = self.job(request.id)?.clone();
        if self.state(&job) != State::Dead {
            return Err(Status::failed_precondition(""));
        }
        let attempts_max = job.attempts + request.attempts;
        *self.job(request.id)? = Job { attempts_max, leased: false, due_ms: now_ms, ..job };
        Ok(RequeueReply {})
    }

    fn remove(&mut self, request: RemoveRequest) -> Result<RemoveReply, Status> {
        self.jobs.remove(&request.id).map(|_| RemoveReply {}).ok_or_else(|| Status::not_found(""))
    }

    fn stats(&mut self, request: StatsRequest) -> Result<StatsReply, Status> {
        let mut stats = StatsReply::default();
        for (job, _) in self.jobs.values().filter(|(job, _)| job.queue == request.queue) {
            match self.state(job) {
                State::Delayed => stats.delayed += 1,
                State::Leased => stats.leased += 1,
                State::Dead => stats.dead += 1,
                State::Ready | State::Unspecified => stats.ready += 1,
            }
        }
        Ok(stats)
    }

    fn list(&mut self, request: ListRequest) -> Result<ListReply, Status> {
        let of_queue = self.jobs.iter().filter(|(_, (job, _))| job.queue == request.queue);
        let mut jobs: Vec<_> = of_queue.map(|(id, (job, _))| (*id, job.clone())).collect();
        jobs.retain(|(_, job)| !request.only_dead || self.state(job) == State::Dead);
        jobs.sort_by_key(|(id, job)| {
            (job.attempts >= job.attempts_max, job.due_ms, job.leased, *id)
        });
        let listed = |(id, job)| Listed { id, state: self.state(&job).into(), job: Some(job) };
        let jobs = jobs.into_iter().map(listed).collect();
        Ok(ListReply { jobs, next_page_token: String::new() })
    }
}

#[quorate_test::model(native, wasm, cluster)]
impl Model for Reference {
    type Plugin = Queues;
    type Call = QueueCall;

    fn calls() -> impl Strategy<Value = QueueCall> {
        let queue = || "[ab]";
        let (id, attempt, attempts) = (|| 1..9_u64, || 1..4_u32, || 1..3_u32);
        let (delay_ms, lease_ms) = (|| prop_oneof![0..1_u64, 0..50_u64], || 1..50_u64);
        prop_oneof![
            3 => (queue(), any::<[u8; 2]>(), delay_ms(), attempts()).prop_map(
                |(queue, payload, delay_ms, attempts)| {
                    let payload = payload.to_vec();
                    QueueCall::Push(PushRequest { queue, payload, delay_ms, attempts })
                }
            ),
            4 => (queue(), lease_ms())
                .prop_map(|(queue, lease_ms)| QueueCall::Take(TakeRequest { queue, lease_ms })),
            2 => (id(), attempt())
                .prop_map(|(id, attempt)| QueueCall::Ack(AckRequest { id, attempt })),
            3 => (id(), attempt(), delay_ms()).prop_map(|(id, attempt, delay_ms)| {
                QueueCall::Nack(NackRequest { id, attempt, delay_ms })
            }),
            2 => (id(), attempt(), lease_ms()).prop_map(|(id, attempt, lease_ms)| {
                QueueCall::Extend(ExtendRequest { id, attempt, lease_ms })
            }),
            2 => (id(), attempts())
                .prop_map(|(id, attempts)| QueueCall::Requeue(RequeueRequest { id, attempts })),
            1 => id().prop_map(|id| QueueCall::Remove(RemoveRequest { id })),
            1 => queue().prop_map(|queue| QueueCall::Stats(StatsRequest { queue })),
            1 => (queue(), any::<bool>()).prop_map(|(queue, only_dead)| {
                QueueCall::List(ListRequest { queue, only_dead, ..ListRequest::default() })
            }),
        ]
    }

    fn at(&mut self, time_ms: u64) {
        self.now_ms = time_ms;
    }

    fn check(&self, machine: &mut Machine<Queues>) {
        super::tick(machine);
        let mut ids = BTreeSet::new();
        for queue in QUEUES {
            let request = ListRequest { queue: queue.into(), ..ListRequest::default() };
            for Listed { id, .. } in machine.list(request).expect("never refused").jobs {
                assert!(ids.insert(id), "job {id} is there twice");
            }
        }
        assert!(ids.iter().eq(self.jobs.keys()), "a job is there until it is done or removed");
    }
}
