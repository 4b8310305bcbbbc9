! Trains a network of flatprop from Fortran; x(inputs, rows) is C's x[rows][inputs].
module flatprop
    use, intrinsic :: iso_c_binding
    implicit none

    type, bind(c) :: layer
        integer(c_int64_t) :: inputs, units, weights, biases, activation, place, function
    end type

    type, bind(c) :: network
        type(c_ptr) :: layers
        integer(c_int64_t) :: n_layers
        type(c_ptr) :: objective, params
        integer(c_int64_t) :: n_params
    end type

    type, bind(c) :: functions
        integer(c_int64_t) :: version, size
        type(c_funptr) :: workspace_size, gradient_workspace_size, forward, loss
        type(c_funptr) :: loss_and_gradient, vjp, jacobian, parameter_jacobian
        type(c_funptr) :: per_sample_gradients, hessian_vector_product
        type(c_funptr) :: gauss_newton_vector_product, update, training_step, sgd_step
    end type

    abstract interface
        function workspace_size(net, rows) bind(c)
            import :: network, c_int64_t
            type(network), intent(in) :: net
            integer(c_int64_t), value :: rows
            integer(c_int64_t) :: workspace_size
        end function

        subroutine forward(net, rows, x, out, workspace) bind(c)
            import :: network, c_int64_t, c_double
            type(network), intent(in) :: net
            integer(c_int64_t), value :: rows
            real(c_double), intent(in) :: x(*)
            real(c_double), intent(inout) :: out(*), workspace(*)
        end subroutine

        function sgd_step(net, rows, x, y, y_columns, weight, rate, workspace) bind(c)
            import :: network, c_int64_t, c_double, c_ptr
            type(network), intent(in) :: net
            integer(c_int64_t), value :: rows, y_columns
            real(c_double), intent(in) :: x(*), y(*)
            type(c_ptr), value :: weight
            real(c_double), value :: rate
            real(c_double), intent(inout) :: workspace(*)
            real(c_double) :: sgd_step
        end function
    end interface
end module

subroutine train(table, net, rows, x, y, rate, steps, losses, out) bind(c)
    use flatprop
    implicit none
    type(functions), intent(in) :: table
    type(network), intent(in) :: net
    integer(c_int64_t), value :: rows, steps
    real(c_double), intent(in) :: x(*), y(*)
    real(c_double), value :: rate
    real(c_double), intent(inout) :: losses(steps), out(*)
    procedure(workspace_size), pointer :: size_of
    procedure(forward), pointer :: predict
    procedure(sgd_step), pointer :: step
    type(layer), pointer :: layers(:)
    real(c_double), allocatable :: workspace(:)
    integer(c_int64_t) :: i

    call c_f_procpointer(table%gradient_workspace_size, size_of)
    call c_f_procpointer(table%forward, predict)
    call c_f_procpointer(table%sgd_step, step)
    call c_f_pointer(net%layers, layers, [net%n_layers])
    allocate (workspace(size_of(net, rows)))
    do i = 1, steps
        losses(i) = step(net, rows, x, y, layers(net%n_layers)%units, c_null_ptr, rate, workspace)
    end do
    call predict(net, rows, x, out, workspace)
end subroutine
