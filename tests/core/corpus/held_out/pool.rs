use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// A bounded pool of connections that hands them out in the order of the calls.
pub struct Pool<C> {
    shared: Arc<Shared<C>>,
    max_idle: Duration,
}

struct Shared<C> {
    state: Mutex<State<C>>,
    freed: Condvar,
}

struct State<C> {
    idle: VecDeque<(Instant, C)>,
    open: usize,
    limit: usize,
}

#[derive(Debug, PartialEq)]
pub enum PoolError {
    TimedOut { waited: Duration },
    Closed,
}

impl<C: Send + 'static> Pool<C> {
    pub fn get<F>(&self, timeout: Duration, connect: F) -> Result<C, PoolError>
    where
        F: FnOnce() -> C,
    {
        let started = Instant::now();
        let mut state = self.shared.state.lock().map_err(|_| PoolError::Closed)?;
        loop {
            while let Some((since, connection)) = state.idle.pop_front() {
                if since.elapsed() < self.max_idle {
                    return Ok(connection);
                }
                state.open -= 1;
            }
            if state.open < state.limit {
                state.open += 1;
                drop(state);
                return Ok(connect());
            }
            let left = timeout.checked_sub(started.elapsed()).ok_or(PoolError::TimedOut { waited: timeout })?;
            state = self.shared.freed.wait_timeout(state, left).map_err(|_| PoolError::Closed)?.0;
        }
    }
}
