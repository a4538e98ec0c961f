package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

var ErrStopped = errors.New("worker: stopped")

type Job struct {
	ID       string
	Payload  []byte
	Attempts int
	NotUntil time.Time
}

type Handler func(ctx context.Context, job Job) error

type Runner struct {
	queue   chan Job
	handle  Handler
	backoff time.Duration
	wg      sync.WaitGroup
	log     *slog.Logger
}

func (r *Runner) Start(ctx context.Context, workers int) {
	for i := 0; i < workers; i++ {
		r.wg.Add(1)
		go func(n int) {
			defer r.wg.Done()
			for {
				select {
				case <-ctx.Done():
					return
				case job, ok := <-r.queue:
					if !ok {
						return
					}
					if err := r.run(ctx, job); err != nil {
						r.log.Error("job failed", "worker", n, "job", job.ID, "attempts", job.Attempts, "err", err)
					}
				}
			}
		}(i)
	}
}

func (r *Runner) run(ctx context.Context, job Job) error {
	job.Attempts++
	err := r.handle(ctx, job)
	if err == nil || errors.Is(err, ErrStopped) {
		return err
	}
	if job.Attempts >= 5 {
		return fmt.Errorf("giving up on %s: %w", job.ID, err)
	}
	job.NotUntil = time.Now().Add(r.backoff << job.Attempts)
	r.queue <- job
	return nil
}
