import CKernels

extension EngineHardware {
    /// Whether the kernel that ran last was one chosen by what the processor can do; nil: none ran yet.
    public static var ranVectors: Bool? {
        switch kernel_ran_vectors() {
        case 0: false
        case 1: true
        default: nil
        }
    }
}
