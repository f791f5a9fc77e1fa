// The part of the C ABI that embedding texts needs, as Go.
//
// One goroutine per completion queue waits in Go's own poller on a duplicate of the
// queue's descriptor, so no thread is parked and C never calls Go.
package main

/*
#cgo CFLAGS: -std=c11
#cgo LDFLAGS: -ltidegate
#include <stdlib.h>
#include <tidegate/tidegate.h>
*/
import "C"

import (
	"context"
	"encoding/json"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// Error is a failed call or request.
type Error struct {
	Status     int
	Message    string
	RetryAfter time.Duration // 0 = unknown
}

func (e *Error) Error() string { return e.Message }

// takeError makes a Go error and releases the C one.
func takeError(status C.tidegate_status, err *C.tidegate_error) error {
	failure := &Error{Status: int(status), Message: C.GoString(C.tidegate_error_message(err, nil))}
	key := C.CString("retry_after_ns")
	defer C.free(unsafe.Pointer(key))
	if detail := C.tidegate_error_detail(err, key, nil); detail != nil {
		if ns, parse := strconv.ParseInt(C.GoString(detail), 10, 64); parse == nil {
			failure.RetryAfter = time.Duration(ns)
		}
	}
	C.tidegate_error_release(err)
	return failure
}

type answer struct {
	vector []float32
	err    error
}

// Gate is one runtime with one model. Safe for use by many goroutines.
type Gate struct {
	runtime *C.tidegate_runtime
	cq      *C.tidegate_cq
	ready   *os.File      // duplicate of the queue's descriptor
	ended   chan struct{} // closed when the draining goroutine has ended

	mutex   sync.Mutex
	lastTag uint64
	waiting map[uint64]chan answer
}

// Open starts a runtime and loads the model of a folder; empty = a synthetic model.
func Open(folder string) (*Gate, error) {
	var err *C.tidegate_error
	if status := C.tidegate_check_abi(&err); status < 0 {
		return nil, takeError(status, err)
	}
	gate := &Gate{ended: make(chan struct{}), waiting: map[uint64]chan answer{}}
	if status := C.tidegate_runtime_create(nil, &gate.runtime, &err); status < 0 {
		return nil, takeError(status, err)
	}
	if failure := gate.prepare(folder); failure != nil {
		C.tidegate_cq_release(gate.cq)
		C.tidegate_runtime_release(gate.runtime)
		return nil, failure
	}
	go gate.drain()
	return gate, nil
}

func (g *Gate) prepare(folder string) error {
	spec := map[string]any{"name": "demo", "kind": "synthetic", "synthetic.dimension": 8}
	if folder != "" {
		spec = map[string]any{"name": "text", "kind": "encoder", "folder": folder}
	}
	text, failure := json.Marshal(spec)
	if failure != nil {
		return failure
	}
	var err *C.tidegate_error
	data, length := bytes(text)
	if status := C.tidegate_model_load(g.runtime, data, length, nil, &err); status < 0 {
		return takeError(status, err)
	}
	if status := C.tidegate_cq_create(g.runtime, &g.cq, &err); status < 0 {
		return takeError(status, err)
	}
	fd, failure := syscall.Dup(int(C.tidegate_cq_fd(g.cq)))
	if failure != nil {
		return failure
	}
	syscall.CloseOnExec(fd)
	// The descriptor is non-blocking already, so the poller takes it.
	g.ready = os.NewFile(uintptr(fd), "tidegate")
	return nil
}

// bytes is a view for the time of one call. An empty slice has no address to give.
func bytes(data []byte) (*C.char, C.size_t) {
	if len(data) == 0 {
		return nil, 0
	}
	return (*C.char)(unsafe.Pointer(&data[0])), C.size_t(len(data))
}

// Embed answers the vector of one text. When ctx ends first the request is cancelled.
func (g *Gate) Embed(ctx context.Context, text string) ([]float32, error) {
	arrival := make(chan answer, 1)
	g.mutex.Lock()
	g.lastTag++
	tag := g.lastTag
	g.waiting[tag] = arrival
	g.mutex.Unlock()

	var options C.tidegate_request_options
	options.struct_size = C.uint32_t(unsafe.Sizeof(options))
	if deadline, set := ctx.Deadline(); set {
		if options.timeout_ns = C.int64_t(time.Until(deadline)); options.timeout_ns <= 0 {
			options.timeout_ns = 1
		}
	}
	var id C.uint64_t
	var err *C.tidegate_error
	data, length := bytes([]byte(text))
	status := C.tidegate_submit_text(g.runtime, nil, data, length, &options, g.cq, C.uint64_t(tag), &id, nil, &err)
	if status < 0 {
		g.take(tag)
		return nil, takeError(status, err)
	}
	select {
	case end := <-arrival:
		return end.vector, end.err
	case <-ctx.Done():
		C.tidegate_cancel(g.runtime, id)
		return nil, ctx.Err()
	}
}

func (g *Gate) take(tag uint64) chan answer {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	arrival := g.waiting[tag]
	delete(g.waiting, tag)
	return arrival
}

const batch = 64

// drain hands completions out until the descriptor is closed.
func (g *Gate) drain() {
	defer close(g.ended)
	const size = unsafe.Sizeof(C.tidegate_completion{})
	records := (*C.tidegate_completion)(C.malloc(C.size_t(batch * size)))
	defer C.free(unsafe.Pointer(records))
	counter := make([]byte, 8)
	for {
		// Reading parks this goroutine until the queue is not empty. It also clears the
		// descriptor, so everything is drained before the next read.
		_, closed := g.ready.Read(counter)
		for {
			var count C.size_t
			if C.tidegate_cq_drain(g.cq, records, C.size_t(size), batch, &count) != C.TIDEGATE_OK {
				break
			}
			for _, record := range unsafe.Slice(records, int(count)) {
				g.finish(record)
			}
		}
		if closed != nil {
			return
		}
	}
}

func (g *Gate) finish(record C.tidegate_completion) {
	arrival := g.take(uint64(record.tag))
	if record.status < 0 {
		arrival <- answer{err: takeError(record.status, record.error)}
		return
	}
	defer C.tidegate_result_release(record.result)
	var view C.tidegate_tensor_view
	view.struct_size = C.uint32_t(unsafe.Sizeof(view))
	var err *C.tidegate_error
	if status := C.tidegate_result_output(record.result, 0, &view, &err); status < 0 {
		arrival <- answer{err: takeError(status, err)}
		return
	}
	numbers := unsafe.Slice((*float32)(view.data), int(view.bytes/4))
	arrival <- answer{vector: append([]float32(nil), numbers...)}
}

// Close lets accepted requests finish for up to five seconds and ends the runtime.
func (g *Gate) Close() error {
	var err *C.tidegate_error
	var failure error
	if status := C.tidegate_runtime_shutdown(g.runtime, C.int64_t(5*time.Second), &err); status < 0 {
		failure = takeError(status, err)
	}
	g.ready.Close()
	<-g.ended
	C.tidegate_cq_release(g.cq)
	C.tidegate_runtime_release(g.runtime)
	return failure
}
