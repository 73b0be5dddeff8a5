package google

import (
	"context"
	"fmt"

	"google.golang.org/api/cloudresourcemanager/v3"
	"google.golang.org/api/option"
)

// ProjectPermissions asks Resource Manager which of some permissions this identity has on a project. emulator is
// HOST:PORT of an emulator of Google's services, "" for Google itself. Errors are as the client gives them.
func ProjectPermissions(ctx context.Context, emulator, project string, permissions []string) ([]string, error) {
	options := []option.ClientOption{option.WithTelemetryDisabled()}
	if emulator != "" {
		// No credentials of Google's ever go to an emulator.
		options = append(options, option.WithEndpoint("http://"+emulator+"/"), option.WithoutAuthentication())
	}

	service, err := cloudresourcemanager.NewService(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("connecting to Resource Manager: %w", err)
	}
	resp, err := service.Projects.TestIamPermissions("projects/"+project,
		&cloudresourcemanager.TestIamPermissionsRequest{Permissions: permissions}).Context(ctx).Do()
	if err != nil {
		return nil, fmt.Errorf("asking Resource Manager about project %s: %w", project, err)
	}
	return resp.Permissions, nil
}
