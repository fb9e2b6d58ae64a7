// SPDX-License-Identifier: Apache-2.0

// Package cases is what the programs of the Go clients have in common: PROGRAM BOOTSTRAP [CASE...].
package cases

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// Count is how many records a round trip takes, RestartCount how many a restart.
const (
	Count        = 500
	RestartCount = 2000
)

// ErrAbsent is returned by a case for which the client has no call.
var ErrAbsent = errors.New("the client has no such call")

// Case is one case and what it does; a panic is a failure as well.
type Case struct {
	Name string
	Run  func() error
}

// Value is the value of record i.
func Value(i int) []byte {
	return []byte(strings.Repeat(fmt.Sprintf("record %d of many, all much alike and so good to compress", i), 3))
}

// Must panics with the error, if there is one.
func Must(err error) {
	if err != nil {
		panic(err)
	}
}

// Get is Must for a call with a result.
func Get[T any](result T, err error) T {
	Must(err)
	return result
}

// Check panics unless the condition holds.
func Check(holds bool, format string, arguments ...any) {
	if !holds {
		panic(fmt.Errorf(format, arguments...))
	}
}

// Equal panics unless both are the same.
func Equal[T comparable](got, want T, what string) {
	Check(got == want, "%s is %v, not %v", what, got, want)
}

// Refused panics unless the error is one of those wanted.
func Refused(err error, wanted ...error) {
	for _, want := range wanted {
		if errors.Is(err, want) {
			return
		}
	}
	panic(fmt.Errorf("not refused with %v but with %v", wanted, err))
}

// RestartNow asks for the broker to be killed and started again.
func RestartNow() {
	fmt.Println("restart-now")
}

// Main runs the cases named on the command line, or all.
func Main(all []Case) {
	for _, one := range all {
		if wanted := os.Args[2:]; len(wanted) > 0 && !slices.Contains(wanted, one.Name) {
			continue
		}
		err := runWithin(time.Minute, one)
		switch {
		case err == nil:
			fmt.Printf("%s\tok\t\n", one.Name)
		case errors.Is(err, ErrAbsent):
			fmt.Printf("%s\tabsent\t%v\n", one.Name, err)
		default:
			fmt.Printf("%s\tfail\t%s\n", one.Name, strings.Join(strings.Fields(err.Error()), " "))
		}
	}
	os.Exit(0)
}

func runWithin(limit time.Duration, one Case) error {
	result := make(chan error, 1)
	go func() { result <- run(one) }()
	select {
	case err := <-result:
		return err
	case <-time.After(limit):
		return fmt.Errorf("no end after %v", limit)
	}
}

func run(one Case) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("%v", cause)
			if as, is := cause.(error); is {
				err = as
			}
			if os.Getenv("COMPAT_TRACE") != "" {
				debug.PrintStack()
			}
		}
	}()
	return one.Run()
}
