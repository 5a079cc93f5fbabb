package server

import (
	"net/http"
	"regexp"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3gen"

	"ressa/coordinator/api"
)

var parameter = regexp.MustCompile(`\{([a-z]+)(\.\.\.)?\}`)

// Description returns the API in OpenAPI 3, made from the table of routes and the
// types of package api.
func (s *Server) Description() (*openapi3.T, error) {
	doc := &openapi3.T{OpenAPI: "3.0.3", Info: &openapi3.Info{Title: "Ressa coordinator", Version: "v1"}, Paths: openapi3.NewPaths()}
	failure, err := schema(api.Error{})
	if err != nil {
		return nil, err
	}
	for _, r := range s.routes() {
		op := &openapi3.Operation{Summary: r.summary, Responses: openapi3.NewResponses()}
		for _, m := range parameter.FindAllStringSubmatch(r.path, -1) {
			op.AddParameter(openapi3.NewPathParameter(m[1]).WithSchema(openapi3.NewStringSchema()))
		}
		if r.in != nil {
			in, err := schema(r.in)
			if err != nil {
				return nil, err
			}
			op.RequestBody = &openapi3.RequestBodyRef{Value: openapi3.NewRequestBody().WithRequired(true).WithJSONSchemaRef(in)}
		}
		answer := openapi3.NewResponse().WithDescription(r.summary)
		if r.out != nil {
			out, err := schema(r.out)
			if err != nil {
				return nil, err
			}
			answer = answer.WithJSONSchemaRef(out)
		}
		status := "200"
		if r.method == http.MethodPost && r.path == "/v1/jobs" {
			status = "202"
		}
		op.Responses.Delete("default")
		op.Responses.Set(status, &openapi3.ResponseRef{Value: answer})
		op.Responses.Set("default", &openapi3.ResponseRef{Value: openapi3.NewResponse().WithDescription("Why there is no success").WithJSONSchemaRef(failure)})
		doc.AddOperation(strings.ReplaceAll(r.path, "...", ""), r.method, op)
	}
	return doc, nil
}

func schema(v any) (*openapi3.SchemaRef, error) {
	return openapi3gen.NewSchemaRefForValue(v, nil, openapi3gen.UseAllExportedFields())
}

func (s *Server) openAPI(http.ResponseWriter, *http.Request) (any, error) { return s.Description() }
