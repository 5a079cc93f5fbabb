package api

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// The bounds of a file of settings: cutting it into tokens takes time in the
// square of its lines and more, and parsing in the square of its tokens.
const (
	MaxDocumentBytes = 32 << 10
	maxLines         = 2000
	maxTokens        = 4096
)

// Flat reads a file of settings that maps keys to scalars, one level deep.
func Flat(r io.Reader) (map[string]string, error) {
	node, err := document(r)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	pairs, err := mapping(node, "")
	if err != nil {
		return nil, err
	}
	for _, p := range pairs {
		s, ok := scalarOf(p.value)
		if !ok {
			return nil, fmt.Errorf("line %d: %s is %s, want one value", line(p.value), shorten(p.key), kindOf(p.value))
		}
		out[p.key] = s.text
	}
	return out, nil
}

// document reads the one YAML document of a file of settings; nil where the file
// is empty. Anchors, aliases, tags, directives, merge and explicit keys are
// refused: settings need none, and with them a short file can stand for a huge
// one. Errors are of one line and name the line where they can.
func document(r io.Reader) (ast.Node, error) {
	raw, err := io.ReadAll(io.LimitReader(r, MaxDocumentBytes+1))
	if err != nil {
		return nil, err
	}
	if len(raw) > MaxDocumentBytes {
		return nil, fmt.Errorf("found more than %d bytes, want at most that", MaxDocumentBytes)
	}
	text := strings.ReplaceAll(string(raw), "\r\n", "\n")
	if n := strings.Count(text, "\n") + strings.Count(text, "\r"); n > maxLines {
		return nil, fmt.Errorf("found %d lines, want at most %d", n, maxLines)
	}
	tokens := lexer.Tokenize(text)
	if len(tokens) > maxTokens {
		return nil, fmt.Errorf("found %d YAML tokens, want at most %d", len(tokens), maxTokens)
	}
	for _, t := range tokens {
		switch t.Type {
		case token.AnchorType, token.AliasType, token.TagType, token.MergeKeyType, token.MappingKeyType, token.DirectiveType:
			return nil, fmt.Errorf("line %d: found %q, want no anchors, aliases, tags, directives, merge and explicit keys", t.Position.Line, shorten(t.Value))
		}
	}
	file, err := parser.Parse(tokens, 0)
	if err != nil {
		return nil, syntax(err)
	}
	switch len(file.Docs) {
	case 0:
		return nil, nil
	case 1:
		return file.Docs[0].Body, nil
	}
	return nil, fmt.Errorf("found %d YAML documents, want one", len(file.Docs))
}

// syntax words an error of the YAML library without the excerpt of the source
// that its Error appends, which may take more memory than there is.
func syntax(err error) error {
	var detailed interface {
		GetMessage() string
		GetToken() *token.Token
	}
	if !errors.As(err, &detailed) {
		return err
	}
	message := shorten(detailed.GetMessage())
	if t := detailed.GetToken(); t != nil && t.Position != nil {
		return fmt.Errorf("line %d: %s", t.Position.Line, message)
	}
	return errors.New(message)
}

// pair is a key of a mapping with its value.
type pair struct {
	key   string
	at    ast.Node
	value ast.Node
}

// mapping returns the pairs of a mapping, none of nothing. path names it in
// errors. The parser has refused repeated keys.
func mapping(node ast.Node, path string) ([]pair, error) {
	switch n := node.(type) {
	case nil, *ast.NullNode, *ast.CommentGroupNode:
		return nil, nil
	case *ast.MappingNode:
		pairs := make([]pair, 0, len(n.Values))
		for _, v := range n.Values {
			s, ok := scalarOf(v.Key)
			if !ok {
				return nil, fmt.Errorf("line %d: found a key that is no scalar in %s", line(v.Key), orTop(path))
			}
			pairs = append(pairs, pair{s.text, v.Key, v.Value})
		}
		return pairs, nil
	}
	return nil, fmt.Errorf("line %d: %s is %s, want a mapping of keys", line(node), orTop(path), kindOf(node))
}

// scalar is a value as it stands in the file.
type scalar struct {
	text   string
	quoted bool // or a block of text: a string, whatever it looks like
}

// scalarOf returns the scalar that a node holds; a value that is left out is none.
func scalarOf(node ast.Node) (scalar, bool) {
	switch n := node.(type) {
	case *ast.StringNode:
		t := n.GetToken()
		return scalar{n.Value, t.Type == token.SingleQuoteType || t.Type == token.DoubleQuoteType}, true
	case *ast.LiteralNode:
		return scalar{n.Value.Value, true}, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return scalar{n.GetToken().Value, false}, true
	}
	return scalar{}, false
}

// kindOf names what a node is.
func kindOf(node ast.Node) string {
	switch node.(type) {
	case nil, *ast.NullNode:
		return "empty"
	case *ast.MappingNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.StringNode, *ast.LiteralNode:
		return "a string"
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "a number"
	case *ast.BoolNode:
		return "a boolean"
	}
	return strings.ToLower(node.Type().String())
}

func line(n ast.Node) int {
	if n == nil {
		return 0
	}
	if t := n.GetToken(); t != nil && t.Position != nil {
		return t.Position.Line
	}
	return 0
}

func orTop(path string) string {
	if path == "" {
		return "the file"
	}
	return path
}
