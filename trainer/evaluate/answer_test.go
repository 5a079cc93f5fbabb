package evaluate

import "testing"

// The expected values are what the reference's two functions return.
func TestNormalise(t *testing.T) {
	for in, want := range map[string]string{
		"":                    "",
		"Dress":               "dress",
		" The  ankle\tboot\n": "ankle boot",
		"T-shirt":             "t shirt",
		"t -shirt":            "t shirt",
		"A bag.":              "bag",
		"two":                 "2",
		"Ten bags":            "10 bags",
		"none":                "0",
		"3.5":                 "3.5",
		"3.":                  "3",
		".5":                  ".5",
		"1,000":               "1000",
		"yes, sir":            "yes sir",
		"red,blue":            "red blue",
		"dont know":           "don't know",
		"couldn'tve":          "couldn't've",
		"were":                "were",
		"it's":                "it's",
		"an":                  "",
		"what?!":              "what",
	} {
		if got := Normalise(in); got != want {
			t.Errorf("Normalise(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestNormaliseIsIdempotentOnAnswers(t *testing.T) {
	for _, s := range []string{"The T-shirt/top", "two bags", "1,000.", "don't", "left of the coat!"} {
		once := Normalise(s)
		if twice := Normalise(once); twice != once {
			t.Errorf("Normalise(%q) = %q, again %q", s, once, twice)
		}
	}
}

func TestMatch(t *testing.T) {
	if !Match("The Bag.", []string{"coat", "bag"}) {
		t.Error("an article and a point must not matter")
	}
	if Match("bags", []string{"bag"}) || Match("bag", nil) {
		t.Error("matched what is not accepted")
	}
}

func FuzzNormalise(f *testing.F) {
	for _, s := range []string{"", "a.b", "1,2,3", "\xff'", "—", "''"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if Normalise(s) != Normalise(" "+s+"\n") {
			t.Errorf("outer white space matters in %q", s)
		}
	})
}
