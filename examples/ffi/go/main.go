// Embeds texts through Tidegate's C ABI.
//
//	embed [-model FOLDER] [TEXT...]
//
// Without a model folder a synthetic model answers. Exit status: 0 all answered,
// 1 a text failed, 2 wrong use or no model.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"
)

func main() { os.Exit(run()) }

func run() int {
	folder := flag.String("model", "", "sentence-transformers folder (default: a synthetic model)")
	flag.Parse()
	texts := flag.Args()
	if len(texts) == 0 {
		texts = []string{"The cat sat on the mat.", "A feline rested on the rug.", "42"}
	}
	gate, err := Open(*folder)
	if err != nil {
		fmt.Fprintln(os.Stderr, "embed:", err)
		return 2
	}
	ctx, stop := context.WithTimeout(context.Background(), 30*time.Second)
	defer stop()
	type outcome struct {
		vector []float32
		err    error
	}
	outcomes := make([]chan outcome, len(texts))
	for i, text := range texts {
		outcomes[i] = make(chan outcome, 1)
		go func(text string, done chan<- outcome) {
			vector, err := gate.Embed(ctx, text)
			done <- outcome{vector, err}
		}(text, outcomes[i])
	}
	status := 0
	for i, text := range texts {
		end := <-outcomes[i]
		if end.err != nil {
			fmt.Fprintf(os.Stderr, "embed: %s: %v\n", text, end.err)
			status = 1
			continue
		}
		fmt.Printf("%s: %d numbers:", text, len(end.vector))
		for n := 0; n < 4 && n < len(end.vector); n++ {
			fmt.Printf(" %.5f", end.vector[n])
		}
		fmt.Println(" ...")
	}
	if err := gate.Close(); err != nil {
		fmt.Fprintln(os.Stderr, "embed: shutdown:", err)
	}
	return status
}
