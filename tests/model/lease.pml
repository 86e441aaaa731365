/*
 * The lease protocol as a list of moves: who may do what, when. Spin tries every order of them.
 *
 * WORKERS workers under SUPERVISORS supervisors share JOBS jobs in one database. A transaction is one move, so is the arrival
 * of a reply; between two moves anything may happen: a claim is on its way, its reply is lost, a process is killed, stopped and
 * resumed, a supervisor dies, a whole host is frozen and thawed, an operator retries. How often each happens is bounded; when
 * nothing more can happen every job must be over.
 *
 * Time is four ages of a lease. 0: as good as new. 1: past lock_timeout less the margin of one heartbeat, so that its worker is to
 * be ended, at once or later. 2: half of the margin is over, too. 3: past lock_timeout, so that anybody may take the job back.
 *
 * What the model takes for granted: an end that is due at age 1 may come at age 2, but no lease of a worker of a host that runs
 * gets to age 3 before it has come. So it shows that the margin makes up for an end that is late by less than the margin, not that
 * real ends never are later: for that there are measurements (G8).
 *
 * WITHOUT_SELF_FENCING: nobody is ended, and nothing is taken for granted. WITHOUT_MARGIN: anybody may take a job back at age 2,
 * at the last moment at which the end may come. WITHOUT_FENCE: a write about a job asks only whether the job runs. WITHOUT_NONCE: a
 * claim tag is the worker's name.
 *
 * Each assertion begins with the promise that it is about.
 */

#ifndef JOBS
#define JOBS 2
#endif
#ifndef WORKERS
#define WORKERS 3
#endif
#define SUPERVISORS 2
#define NONE 255

/* How often each fault may still happen. ONE_OF_ALL: any one of them, once. */
#ifndef CRASHES
#define CRASHES 0
#endif
#ifndef STOPS
#define STOPS 0
#endif
#ifndef LOST_ANSWERS
#define LOST_ANSWERS 0
#endif
#ifndef FAILURES
#define FAILURES 0
#endif
#ifndef VANISHINGS
#define VANISHINGS 0
#endif
#ifndef FREEZES
#define FREEZES 0
#endif
#ifndef LATE_HEARTBEATS
#define LATE_HEARTBEATS 0
#endif
#ifndef RETRIES
#define RETRIES 0
#endif

/* Spin prints an assertion that fails as it stands, but no names: these numbers say which promise it is about. */
#define G5 5
#define G6 6
#define G7 7
#define G8 8
#define G9 9

/* ONLY=8 leaves out what is not about G8: an accident that breaks several promises may show another one first. */
#ifdef ONLY
#define left_out(promise) (promise != ONLY)
#else
#define left_out(promise) false
#endif

#ifdef WITHOUT_MARGIN
#define EXPIRED 2
#else
#define EXPIRED 3
#endif

#define supervisor_of(w) ((w) % SUPERVISORS)

mtype = { pending, running, done };
mtype = { gone, idle, asking, handling, settling };

typedef Job {
    mtype status = pending;
    byte tag = NONE;     /* the claim tag, while it runs */
    byte lease;
    byte age;
    byte settled = NONE  /* the lease under which it was last settled: none may be settled twice */
}

/* A claim on its way to the server, or its answer on the way back; `job` is what the server gave. */
typedef Message {
    byte tag = NONE;
    bool applied;
    byte job = NONE;
    byte lease
}

typedef Worker {
    mtype is = idle;
    bool stopped;
    byte held = NONE;    /* the claim it holds or asks for: on its books, and renewed */
    byte dropped = NONE; /* a claim whose answer was lost: on its books, to be given back */
    byte job = NONE;     /* what its handler works on */
    byte lease;
    bool wrote;          /* its handler has written a row in a fenced transaction */
    Message asked;
    Message late         /* a claim that nobody waits for any more; the server may still grant it */
}

Job jobs[JOBS];
Worker workers[WORKERS];
bool vanished[SUPERVISORS];
bool frozen[SUPERVISORS];
bool was_frozen[SUPERVISORS];
byte crashes = CRASHES;
byte stops = STOPS;
byte losses = LOST_ANSWERS;
byte failures = FAILURES;
byte vanishings = VANISHINGS;
byte freezes = FREEZES;
byte late_heartbeats = LATE_HEARTBEATS;
byte retries = RETRIES;

#define W workers[w]
#define H jobs[W.job]
#define up (!frozen[supervisor_of(w)] && !W.stopped)
#define attended(s) (!frozen[s] && !vanished[s])

#ifdef WITHOUT_FENCE
#define mine (H.status == running)
#else
#define mine (H.status == running && H.tag == W.held && H.lease == W.lease)
#endif

/* What "this attempt holds the job" means, whatever the statements ask. */
#define holds (H.status == running && H.lease == W.lease)

#define of_job(j, t) (jobs[j].tag == t)
#define of_worker(v, t) (workers[v].held == t || workers[v].dropped == t || workers[v].asked.tag == t || workers[v].late.tag == t)
#define known(t) (of_job(0, t) || of_job(JOBS - 1, t) || of_worker(0, t) || of_worker(1, t) || of_worker(WORKERS - 1, t))

/* A tag that nobody knows of any more is as good as one that was never drawn. */
inline draw_tag(tag_) {
#ifdef WITHOUT_NONCE
    tag_ = w;
#else
    tag_ = 0;
    do
    :: known(tag_) -> tag_++
    :: else -> break
    od;
#endif
}

#define leave_running(j, word) \
    jobs[j].status = word; jobs[j].tag = NONE; jobs[j].age = 0

#define clear(message) \
    message.tag = NONE; message.applied = false; message.job = NONE; message.lease = 0

/* What a worker asked for and does not wait for any more; one that was granted already is of no interest. */
inline give_up_asking() {
    if
    :: W.asked.tag != NONE && !W.asked.applied && W.late.tag == NONE -> W.late.tag = W.asked.tag
    :: else
    fi;
    clear(W.asked)
}

/* A worker's process ends, whoever ended it. Its books stay until its supervisor has had everything on them given back. */
inline end_worker() {
    give_up_asking();
    W.is = gone; W.stopped = false; W.job = NONE; W.lease = 0; W.wrote = false
}

inline be_idle() {
    W.is = idle; W.held = NONE; W.job = NONE; W.lease = 0; W.wrote = false
}

#define grant(message, j) \
    jobs[j].status = running; jobs[j].tag = message.tag; jobs[j].lease++; jobs[j].age = 0; \
    message.applied = true; message.job = j; message.lease = jobs[j].lease

inline settle(word) {
    if
    :: mine ->
        assert(G6 && (left_out(G6) || holds));                /* a superseded attempt changes nothing */
        assert(G7 && (left_out(G7) || H.settled != H.lease)); /* no lease is settled twice */
        H.settled = H.lease;
        leave_running(W.job, word)
    :: else                                 /* LeaseLost */
    fi
}

#define runs_elsewhere(v) (v != w && workers[v].is == handling && workers[v].job == W.job && !was_frozen[supervisor_of(v)])

proctype WorkerAndItsServer(byte w) {
    byte t;
end:
    do
    /* claim: the tag is on the books before the request leaves */
    :: atomic { up && W.is == idle && (jobs[0].status == pending || jobs[JOBS - 1].status == pending) ->
        draw_tag(t); W.held = t; W.asked.tag = t; W.is = asking; t = 0 }
    :: atomic { W.asked.tag != NONE && !W.asked.applied && jobs[0].status == pending -> grant(W.asked, 0) }
    :: atomic { W.asked.tag != NONE && !W.asked.applied && jobs[JOBS - 1].status == pending -> grant(W.asked, JOBS - 1) }
    :: atomic { W.asked.tag != NONE && !W.asked.applied && jobs[0].status != pending && jobs[JOBS - 1].status != pending ->
        W.asked.applied = true }
    :: atomic { up && W.is == asking && W.asked.applied && W.asked.job == NONE -> clear(W.asked); be_idle() }
    :: atomic { up && W.is == asking && W.asked.applied && W.asked.job != NONE ->
        W.is = handling; W.job = W.asked.job; W.lease = W.asked.lease; clear(W.asked);
        /* what a handler begins is its worker's, and no other still works on it, a frozen host's excepted */
        assert(G5 && (left_out(G5) || was_frozen[supervisor_of(w)] || holds));
        assert(G8 && (left_out(G8) || was_frozen[supervisor_of(w)] ||
                      (!runs_elsewhere(0) && !runs_elsewhere(1) && !runs_elsewhere(WORKERS - 1)))) }

    /* the answer is lost: the worker drops the claim, the server may still grant it */
    :: atomic { up && W.is == asking && W.dropped == NONE && W.late.tag == NONE && losses > 0 ->
        losses--; W.dropped = W.held; give_up_asking(); be_idle() }
    :: atomic { W.late.tag != NONE && jobs[0].status == pending -> grant(W.late, 0); clear(W.late) }
    :: atomic { W.late.tag != NONE && jobs[JOBS - 1].status == pending -> grant(W.late, JOBS - 1); clear(W.late) }
    :: atomic { W.late.tag != NONE -> clear(W.late) }

    /* the handler writes a row of its own in a fenced transaction */
    :: atomic { up && W.is == handling && !W.wrote && mine -> assert(G6 && (left_out(G6) || holds)); W.wrote = true }

    /* settle, with success or failure, and with a lost answer: then once more under the same tag */
    :: atomic { up && W.is == handling -> settle(done); be_idle() }
    :: atomic { up && W.is == handling && failures > 0 -> failures--; settle(pending); be_idle() }
    :: atomic { up && W.is == handling && losses > 0 -> losses--; settle(done); W.is = settling }
    :: atomic { up && W.is == handling && losses > 0 -> losses--; W.is = settling }
    :: atomic { up && W.is == settling -> settle(done); be_idle() }

    /* what befalls it */
    :: atomic { W.is != gone && crashes > 0 -> crashes--; end_worker() }
    :: atomic { W.is != gone && !W.stopped && stops > 0 -> stops--; W.stopped = true }
    :: atomic { W.stopped -> W.stopped = false }
    od
}

#define under(j, t) (jobs[j].status == running && t != NONE && jobs[j].tag == t)
#define fading(j, t) (under(j, t) && jobs[j].age > 0)

inline give_back(t) {
    if :: under(0, t) -> leave_running(0, pending) :: else fi;
    if :: under(JOBS - 1, t) -> leave_running(JOBS - 1, pending) :: else fi
}

/* What a supervisor and its maintenance do for one worker's place. */
proctype Attendance(byte w) {
end:
    do
    /* heartbeat: what is on the books of a living worker is renewed, unless its worker has dropped it */
    :: atomic { attended(supervisor_of(w)) && W.is != gone && fading(0, W.held) -> jobs[0].age = 0 }
    :: atomic { attended(supervisor_of(w)) && W.is != gone && fading(JOBS - 1, W.held) -> jobs[JOBS - 1].age = 0 }

    /* dropped claims are given back, and again for a while */
    :: atomic { attended(supervisor_of(w)) && W.is != gone && (under(0, W.dropped) || under(JOBS - 1, W.dropped)) ->
        give_back(W.dropped) }
    :: atomic { attended(supervisor_of(w)) && W.is != gone && W.dropped != NONE && !under(0, W.dropped) &&
                !under(JOBS - 1, W.dropped) -> W.dropped = NONE }

    /* a death was seen: everything on its books goes back, then the place is filled again */
    :: atomic { attended(supervisor_of(w)) && W.is == gone ->
        give_back(W.held); give_back(W.dropped); W.dropped = NONE; be_idle() }

    /* ended: a worker that was stopped too long, or whose lease could not be renewed */
    :: atomic { attended(supervisor_of(w)) && W.stopped -> end_worker() }
#ifndef WITHOUT_SELF_FENCING
    :: atomic { attended(supervisor_of(w)) && W.is != gone && (fading(0, W.held) || fading(JOBS - 1, W.held)) -> end_worker() }
#endif

    /* its supervisor is gone: maintenance ends it, and whether its books can still be given back is chance */
    :: atomic { vanished[supervisor_of(w)] && !frozen[supervisor_of(w)] && W.is != gone -> end_worker() }
    :: atomic { vanished[supervisor_of(w)] && !frozen[supervisor_of(w)] && W.is == gone && (W.held != NONE || W.dropped != NONE) ->
        if :: give_back(W.held); give_back(W.dropped) :: skip fi;
        W.held = NONE; W.dropped = NONE }
    od
}

#define ended(v) (workers[v].is == gone && workers[v].held == NONE && workers[v].dropped == NONE)
#define of(v, s) (supervisor_of(v) == s)
#define left_alone(s) ((!of(0, s) || ended(0)) && (!of(1, s) || ended(1)) && (!of(WORKERS - 1, s) || ended(WORKERS - 1)))

proctype Supervisor(byte s) {
end:
    do
    :: atomic { attended(s) && vanishings > 0 -> vanishings--; vanished[s] = true }
    :: atomic { vanished[s] && !frozen[s] && left_alone(s) -> vanished[s] = false }
    :: atomic { !frozen[s] && freezes > 0 -> freezes--; frozen[s] = true; was_frozen[s] = true }
    :: atomic { frozen[s] -> frozen[s] = false }
    od
}

#define keeps(v, j) (workers[v].is != gone && workers[v].held == jobs[j].tag && !frozen[supervisor_of(v)])
#define kept(j) (keeps(0, j) || keeps(1, j) || keeps(WORKERS - 1, j))

/* Time, the operator, and any supervisor that takes back what expired. */
proctype Everything(byte j) {
end:
    do
    :: atomic { jobs[j].status == running && jobs[j].age == 0 && !kept(j) -> jobs[j].age = 1 }
    :: atomic { jobs[j].status == running && jobs[j].age == 0 && kept(j) && late_heartbeats > 0 ->
        late_heartbeats--; jobs[j].age = 1 }
    :: atomic { jobs[j].status == running && jobs[j].age == 1 -> jobs[j].age = 2 }
#ifdef WITHOUT_SELF_FENCING
    :: atomic { jobs[j].status == running && jobs[j].age == 2 -> jobs[j].age = 3 }
#else
    :: atomic { jobs[j].status == running && jobs[j].age == 2 && !kept(j) -> jobs[j].age = 3 }
#endif
    :: atomic { jobs[j].status == running && jobs[j].age >= EXPIRED && (attended(0) || attended(1)) -> leave_running(j, pending) }
    :: atomic { jobs[j].status == done && retries > 0 -> retries--; jobs[j].status = pending }
    od
}

/* When nothing more can happen, every job is over. */
proctype Auditor() {
    timeout ->
        assert(G9 && (left_out(G9) || (jobs[0].status == done && jobs[JOBS - 1].status == done)))
}

init {
    byte i;
    atomic {
#ifdef ONE_OF_ALL
        if
        :: crashes = 1
        :: stops = 1
        :: losses = 1
        :: failures = 1
        :: vanishings = 1
        :: freezes = 1
        :: late_heartbeats = 1
        :: retries = 1
        fi;
#endif
        for (i : 0 .. WORKERS - 1) { run WorkerAndItsServer(i); run Attendance(i) }
        for (i : 0 .. SUPERVISORS - 1) { run Supervisor(i) }
        for (i : 0 .. JOBS - 1) { run Everything(i) }
        run Auditor()
    }
}
